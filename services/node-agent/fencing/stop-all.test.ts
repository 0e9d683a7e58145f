// SPDX-License-Identifier: Apache-2.0
import { expect, it } from 'vitest';
import { createVirtualClock } from '../../platform/clock/virtual.js';
import { HypervisorError } from '../../platform/hypervisor/hypervisor.js';
import { createMemoryLogger } from '../../platform/log/memory.js';
import type { AgentParts } from '../parts.js';
import { stopAllVms } from './stop-all.js';

it('a hypervisor that cannot tell what runs is named as the trouble, and nothing is said to have stopped', async () => {
  const parts = {
    env: {
      clock: createVirtualClock(),
      log: createMemoryLogger(),
      hypervisor: { list: () => Promise.reject(new HypervisorError('down', 'the connection is gone')) },
    },
    stopped: new AbortController().signal,
  };
  await expect(stopAllVms(parts as unknown as AgentParts, 10_000)).rejects.toMatchObject({ reason: 'HYPERVISOR_DOWN' });
});
