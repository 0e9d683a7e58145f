// SPDX-License-Identifier: Apache-2.0
import { NodeLeavingKind, ShutdownPolicy, type NodeLeaving } from '@lockstep/sdk/v1';
import { nodeCodec, optionsCodec } from '../core/records/codec.js';
import { keys } from '../core/records/keys.js';
import { sleep } from '../platform/clock/clock.js';
import type { GoingDown } from '../platform/host/shutdown.js';
import type { Logger } from '../platform/log/log.js';
import { isActive } from './domain-states.js';
import type { AgentParts } from './parts.js';
import type { Reconciler } from './reconcile.js';
import type { NodeView } from './view.js';

const LOOK_EVERY_MS = 500;
const WRITE_TRIES = 3;

const KINDS = { reboot: NodeLeavingKind.REBOOT, shutdown: NodeLeavingKind.SHUTDOWN } as const;

/**
 * The agent's part of a host's orderly end: it says so, waits for the Scheduler to take away what is to leave, stops
 * what is left in order, and says that it has left. Nothing of it changes what a VM shall be: what stayed here is started
 * again when the host is back.
 */
export class Leaving {
  /** What the node says of itself; undefined: it stays. */
  word: NodeLeaving | undefined;
  readonly #log: Logger;

  constructor(
    private readonly parts: AgentParts,
    private readonly view: NodeView,
    private readonly reconciler: Reconciler,
    /** Tells those who watch. */
    private readonly onChange: () => void,
  ) {
    this.#log = parts.env.log.child('leaving');
  }

  /** Resolves when the host may go down. Bounded; whatever fails, the VMs are stopped in order. */
  async leave(kind: Exclude<GoingDown, 'no'>): Promise<void> {
    const { env, timing } = this.parts;
    this.word = { kind: KINDS[kind], time: env.clock.wallTime(), left: false };
    this.#log.info(`the host goes down (${kind})`);
    this.reconciler.leaving = 'stay';
    this.onChange();
    await this.#write();
    if (await this.#shallBeEmptied()) await this.#untilNoneRuns(timing.leaveLimitMs);
    this.reconciler.leaving = 'stop';
    this.reconciler.kickAll(this.view.domains.keys());
    const left = await this.#untilNoneRuns(timing.stopLimitMs);
    this.word = { ...this.word, left };
    this.onChange();
    await this.#write();
    this.#log.log(left ? 'o' : 'w', left ? 'left; no VM runs here' : 'VMs still run here, and the host goes down');
  }

  /** Whether the cluster's policy has its VMs leave; what cannot be read is taken for the default. */
  async #shallBeEmptied(): Promise<boolean> {
    const { store } = this.parts.env;
    const entry = await store.get(keys.options).catch(() => undefined);
    const policy = entry === undefined ? 0 : optionsCodec.decode(entry.value, entry.index).shutdownPolicy;
    if (policy === ShutdownPolicy.FREEZE) return false;
    if (policy === ShutdownPolicy.MIGRATE || policy === ShutdownPolicy.FAILOVER) return true;
    return this.word?.kind === NodeLeavingKind.SHUTDOWN;
  }

  /** True once no VM of the cluster runs here. */
  async #untilNoneRuns(limitMs: number): Promise<boolean> {
    const { clock } = this.parts.env;
    const untilMs = clock.nowMs() + limitMs;
    for (;;) {
      await this.view.vms.refresh();
      if (![...this.view.domains.values()].some(({ placementEpoch, state }) => placementEpoch !== undefined && isActive(state))) {
        return true;
      }
      if (clock.nowMs() >= untilMs) return false;
      await sleep(clock, LOOK_EVERY_MS);
    }
  }

  /** Into the node's record, where every later leader finds it; the next joining clears it. */
  async #write(): Promise<void> {
    const { env, config } = this.parts;
    const key = keys.node(config.node);
    for (let tries = 1; tries <= WRITE_TRIES; tries += 1) {
      try {
        const entry = await env.store.get(key, { consistency: 'consistent' });
        if (entry === undefined) return;
        const record = { ...nodeCodec.decode(entry.value, entry.index), leaving: this.word };
        const { outcome } = await env.store.txn([{ op: 'cas', key, value: nodeCodec.encode(record), index: entry.index }]);
        if (outcome === 'committed') return;
      } catch (error) {
        this.#log.warn('could not write it into the record', { error });
      }
    }
  }
}
