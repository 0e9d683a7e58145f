// SPDX-License-Identifier: Apache-2.0
import { SchedulerServiceDefinition } from '@lockstep/sdk/v1';
import { z } from 'zod';
import { commonKeys, runService } from '../platform/process/run.js';
import { service } from '../platform/rpc/implement.js';
import { createScheduler } from './scheduler.js';

await runService({
  name: 'scheduler',
  schema: z.strictObject(commonKeys),
  build: (env, config) => {
    const scheduler = createScheduler(env, { name: config.node });
    return Promise.resolve({
      services: [service(SchedulerServiceDefinition, scheduler.implementation)],
      start: (address) => {
        scheduler.start(address);
      },
      notReady: () => (scheduler.leader().kind === 'none' ? 'no leader is known' : ''),
      leads: () => scheduler.leader().kind === 'self',
      close: () => scheduler.close(),
    });
  },
});
