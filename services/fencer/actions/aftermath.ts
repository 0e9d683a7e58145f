// SPDX-License-Identifier: Apache-2.0
import { EventSeverity, FenceActionState, type FenceAction } from '@lockstep/sdk/v1';
import { ATTEMPTS } from '../../core/fencing/ladder.js';
import { leaderCodec } from '../../core/records/codec.js';
import { keys } from '../../core/records/keys.js';
import { createBackOff, isAborted, pauseUnlessAborted } from '../../membership/back-off.js';
import type { Logger } from '../../platform/log/log.js';
import { disarmed } from '../arming.js';
import { ladderOf, type FencerLeading } from '../leading.js';
import { wordsOf } from '../sight/looks.js';
import { nameOf } from '../sight/power-reads.js';
import { replaced, tryNow } from './attempts.js';
import { about, hasBegunPowerOn, type FenceJournal } from './journal.js';

const CALL_MS = 10_000;
const PAUSES = { firstMs: 500, mostMs: 15_000 };
const NAP_MS = 500;

/** What follows a proof: the Scheduler is told until it took it, and the node is switched on again where that is wanted. */
export class Aftermath {
  readonly #log: Logger;
  readonly #running = new Map<string, Promise<void>>();

  constructor(
    private readonly leading: FencerLeading,
    private readonly journal: FenceJournal,
  ) {
    this.#log = leading.env.log.child('recovery');
  }

  /** Takes care of every action that is confirmed and whose node has not joined since. Never rejects. */
  look(): void {
    for (const action of this.journal.all()) {
      if (!this.#isOwed(action) || this.#running.has(action.id)) continue;
      const work = Promise.all([this.#recover(action.id), this.#switchOn(action.id)])
        .catch((error: unknown) => {
          this.#log.warn(`${action.node}: what follows its proof failed; it is tried again`, { action: action.id, error });
        })
        .then(() => {
          this.#running.delete(action.id);
        });
      this.#running.set(action.id, work);
    }
  }

  async done(): Promise<void> {
    await Promise.all(this.#running.values());
  }

  #isOwed(action: FenceAction): boolean {
    return this.#isFenced(action) && (!action.recovered || this.#owesPower(action));
  }

  /** The proof holds until the node joins again. */
  #isFenced({ id, node, state }: FenceAction): boolean {
    return state === FenceActionState.CONFIRMED && this.leading.streams.node(node)?.record.fencedBy === id;
  }

  #owesPower(action: FenceAction): boolean {
    const devices = this.leading.env.bmcs.devices(action.node);
    return ladderOf(this.leading, action.node).powerOn && devices.length > 0 && !hasBegunPowerOn(action);
  }

  /** Repeats until the Scheduler answers OK, or the node joined again: then there is nothing to recover. */
  async #recover(id: string): Promise<void> {
    const { env, term } = this.leading;
    const backOff = createBackOff(env, PAUSES);
    let told = '';
    while (!isAborted(term.ended)) {
      const action = this.journal.get(id)?.record;
      if (action === undefined || action.recovered || !this.#isFenced(action)) return;
      try {
        if (disarmed(this.leading) !== undefined) throw new Error('the Fencer is disarmed, so that nothing is recovered');
        const vms = await this.#callScheduler(action);
        await this.journal.amend(id, (now) => ({ ...now, recovered: true }));
        // It finds the proof by itself as well, and may have been quicker than this call.
        const left = vms === 0 ? 'no VM is left there to be recovered' : `${String(vms)} VMs are left there to be recovered`;
        const message = `the Scheduler took the proof that ${action.node} is off: ${left}`;
        this.#log.ok(message, { action: id });
        await this.leading.tell({ ...about(action), severity: EventSeverity.INFO, reason: 'RECOVERY_BEGUN', message });
        return;
      } catch (error) {
        const why = wordsOf(error);
        if (why !== told) this.#log.warn(`${action.node} is not recovered yet: ${why}`, { action: id });
        told = why;
      }
      await backOff.pause(term.ended);
    }
  }

  async #callScheduler({ node, id }: FenceAction): Promise<number> {
    const { env, term } = this.leading;
    const entry = await env.store.get(keys.leader('scheduler'));
    if (entry?.session === undefined) throw new Error('nobody leads the Scheduler');
    const { address } = leaderCodec.decode(entry.value, entry.index);
    const call = { deadlineMs: CALL_MS, signal: term.ended };
    const { vms } = await env.peers.scheduler(address).recoverNode({ node, fenceActionId: id }, call);
    return vms;
  }

  /** At most once, whichever leader means to: it is written down before. The node then joins as one that starts. */
  async #switchOn(id: string): Promise<void> {
    const { env, term, settings } = this.leading;
    const untilMs = env.clock.nowMs() + settings.timings.powerOnAfterMs;
    const now = (): FenceAction | undefined => this.journal.get(id)?.record;
    while (env.clock.nowMs() < untilMs && now()?.recovered === false && !isAborted(term.ended)) {
      await pauseUnlessAborted(env.clock, NAP_MS, term.ended);
    }
    const action = now();
    if (action === undefined || isAborted(term.ended) || !this.#isFenced(action) || !this.#owesPower(action)) return;
    const [device] = env.bmcs.devices(action.node);
    if (device === undefined) return;
    const trying = tryNow(this.leading, ATTEMPTS.powerOn, nameOf(device));
    await this.journal.amend(id, (record) => ({ ...record, attempts: [...record.attempts, trying.begun] }));
    await env.points('fencer/power-on/noted');
    let detail = 'the device took the order';
    try {
      await device.powerOn({ deadlineMs: settings.timings.deviceCallMs, signal: term.ended });
    } catch (error) {
      detail = `it stays off, as the order failed: ${wordsOf(error)}`;
      await this.leading.tell({
        ...about(action),
        ...{ severity: EventSeverity.WARNING, reason: 'POWER_ON_FAILED', message: `${action.node}: ${detail}` },
      });
    }
    const ended = trying.ended(false, detail);
    await this.journal.amend(id, (record) => ({ ...record, attempts: replaced(record.attempts, trying, ended) }));
  }
}
