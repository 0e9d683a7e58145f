// SPDX-License-Identifier: Apache-2.0
import { addressOf, runService } from '../platform/process/run.js';
import { fencerSchema } from './config.js';
import { createFencer } from './fencer.js';

await runService({
  name: 'fencer',
  schema: fencerSchema,
  build: (env, config) => {
    const fencer = createFencer(env, { name: config.node, address: addressOf(config), timings: config.timings });
    return Promise.resolve({
      services: [fencer.service],
      start: () => {
        fencer.start();
      },
      close: () => fencer.close(),
    });
  },
});
