// SPDX-License-Identifier: Apache-2.0
import { FencerServiceDefinition } from '@lockstep/sdk/v1';
import { z } from 'zod';
import { addressOf, commonKeys, runService } from '../platform/process/run.js';
import { service } from '../platform/rpc/implement.js';
import { createFencer } from './fencer.js';

await runService({
  name: 'fencer',
  schema: z.strictObject(commonKeys),
  build: (env, config) => {
    const fencer = createFencer(env, { name: config.node });
    return Promise.resolve({
      services: [service(FencerServiceDefinition, fencer.implementation)],
      start: () => {
        fencer.start(addressOf(config));
      },
      close: () => fencer.close(),
    });
  },
});
