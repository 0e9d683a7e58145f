// SPDX-License-Identifier: Apache-2.0
import { FencerServiceDefinition } from '@lockstep/sdk/v1';
import { systemClock } from '../platform/clock/system.js';
import { followBmcs } from '../platform/power/followed.js';
import { runService } from '../platform/process/run.js';
import { service } from '../platform/rpc/implement.js';
import { fencerSchema } from './config.js';
import { createFencer } from './fencer.js';

await runService({
  name: 'fencer',
  schema: fencerSchema,
  build: async (env, config, log) => {
    const closing = new AbortController();
    const bmcs = await followBmcs(config.bmc_file, { clock: systemClock, log: log.child('bmc'), signal: closing.signal });
    const { node: name, timings, fencing } = config;
    const fencer = createFencer({ ...env, bmcs }, { name, timings, fencing });
    return {
      services: [service(FencerServiceDefinition, fencer.implementation)],
      start: (address) => {
        fencer.start(address);
      },
      notReady: () => (fencer.leader().kind === 'none' ? 'no leader is known' : ''),
      leads: () => fencer.leader().kind === 'self',
      close: () => {
        closing.abort();
        return fencer.close();
      },
    };
  },
});
