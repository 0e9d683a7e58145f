// SPDX-License-Identifier: Apache-2.0
import type { Point } from '../core/migration/points.js';
import type { Clock } from './clock/clock.js';
import type { Host } from './host/host.js';
import type { HostShutdown } from './host/shutdown.js';
import type { Hypervisor } from './hypervisor/hypervisor.js';
import type { Logger } from './log/log.js';
import type { Bmcs } from './power/power.js';
import type { Metrics } from './metrics/metrics.js';
import type { Random } from './random/random.js';
import type { Peers } from './rpc/peers.js';
import type { DurableState } from './state/state.js';
import type { Store } from './store/store.js';
import type { Watchdog } from './watchdog/watchdog.js';

/**
 * Reports that a named point of the code was reached and goes on when the answer comes. In production it answers in the
 * same turn, so that even the gap between Transfer's end and Commit(target) can have one; tests stop a process there.
 */
export type Points = (name: Point) => Promise<void>;

/** Everything a service can reach of the world. Nothing else touches time, chance or I/O. */
export interface Env {
  clock: Clock;
  random: Random;
  store: Store;
  log: Logger;
  peers: Peers;
  points: Points;
  /** Absent: nothing is counted. */
  metrics?: Metrics | undefined;
}

/** What a Fencer has besides. */
export interface FencerEnv extends Env {
  /** What switches the power of all nodes. */
  bmcs: Bmcs;
}

/** What an agent has besides: the host it runs on. */
export interface AgentEnv extends Env {
  hypervisor: Hypervisor;
  host: Host;
  state: DurableState;
  /** What resets this host when it is fed no more; absent: nothing does. */
  watchdog?: Watchdog | undefined;
  /** The BMCs of all nodes, the own one among them. */
  bmcs: Bmcs;
  /** Tells the end of the agent from the end of its host. Absent: the host never goes down in order. */
  shutdown?: HostShutdown | undefined;
  /** The longest time the event loop was held up since the last call, in milliseconds. Absent: not measured. */
  loopDelayMs?: (() => number) | undefined;
}
