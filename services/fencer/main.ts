// SPDX-License-Identifier: Apache-2.0
import { addressOf, runService } from '../platform/process/run.js';
import { fencerSchema } from './config.js';
import { createFencer } from './fencer.js';

await runService({
  name: 'fencer',
  schema: fencerSchema,
  build: (env, config) => {
    const fencer = createFencer(env, { name: config.node, timings: config.timings });
    return Promise.resolve({
      services: [fencer.service],
      start: () => {
        fencer.start(addressOf(config));
      },
      close: () => fencer.close(),
    });
  },
});
