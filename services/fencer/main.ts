// SPDX-License-Identifier: Apache-2.0
import { FencerServiceDefinition } from '@lockstep/sdk/v1';
import { runService } from '../platform/process/run.js';
import { service } from '../platform/rpc/implement.js';
import { fencerSchema } from './config.js';
import { createFencer } from './fencer.js';

await runService({
  name: 'fencer',
  schema: fencerSchema,
  build: (env, config) => {
    const fencer = createFencer(env, { name: config.node, timings: config.timings });
    return Promise.resolve({
      services: [service(FencerServiceDefinition, fencer.implementation)],
      start: (address) => {
        fencer.start(address);
      },
      notReady: () => (fencer.leader().kind === 'none' ? 'no leader is known' : ''),
      leads: () => fencer.leader().kind === 'self',
      close: () => fencer.close(),
    });
  },
});
