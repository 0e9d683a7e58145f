// SPDX-License-Identifier: Apache-2.0
import { FencerServiceDefinition } from '@lockstep/sdk/v1';
import { loadBmcs } from '../platform/power/credentials.js';
import { runService } from '../platform/process/run.js';
import { service } from '../platform/rpc/implement.js';
import { fencerSchema } from './config.js';
import { createFencer } from './fencer.js';

await runService({
  name: 'fencer',
  schema: fencerSchema,
  build: async (env, config) => {
    const bmcs = await loadBmcs(config.bmc_file, env.clock);
    const { node: name, timings, fencing } = config;
    const fencer = createFencer({ ...env, bmcs }, { name, timings, fencing });
    return {
      services: [service(FencerServiceDefinition, fencer.implementation)],
      start: (address) => {
        fencer.start(address);
      },
      notReady: () => (fencer.leader().kind === 'none' ? 'no leader is known' : ''),
      leads: () => fencer.leader().kind === 'self',
      close: () => fencer.close(),
    };
  },
});
