// SPDX-License-Identifier: Apache-2.0
import { z } from 'zod';
import { addressOf, commonKeys, runService } from '../platform/process/run.js';
import { createScheduler } from './scheduler.js';

await runService({
  name: 'scheduler',
  schema: z.strictObject(commonKeys),
  build: (env, config) => {
    const scheduler = createScheduler(env, { name: config.node, address: addressOf(config) });
    return Promise.resolve({ services: [scheduler.service], close: () => scheduler.close() });
  },
});
