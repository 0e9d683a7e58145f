// SPDX-License-Identifier: Apache-2.0
import type { AgentEnv } from '../platform/env.js';
import type { AgentConfig, AgentTiming } from './config.js';
import type { DurableMemory } from './durable-memory.js';
import type { AgentMetrics } from './metrics.js';
import type { OrderGuard } from './orders.js';
import type { VmQueues } from './vm-queues.js';

/** What every part of an agent works with. */
export interface AgentParts {
  env: AgentEnv;
  config: AgentConfig;
  timing: AgentTiming;
  memory: DurableMemory;
  metrics: AgentMetrics;
  queues: VmQueues;
  guard: OrderGuard;
  /** Aborts when the agent stops. */
  stopped: AbortSignal;
}
