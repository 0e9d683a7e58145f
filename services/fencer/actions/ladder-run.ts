// SPDX-License-Identifier: Apache-2.0
import { EventSeverity, FenceActionState, LeaderRole, NodeJudgement, SelfFenceMode, type FenceAction } from '@lockstep/sdk/v1';
import { milliseconds } from '../../core/duration.js';
import { ATTEMPTS, planOf, type Rung } from '../../core/fencing/ladder.js';
import { proofByExpiryMs } from '../../core/fencing/self-fence.js';
import type { RuleName } from '../../core/judgement/judge.js';
import { seconds } from '../../core/judgement/throws.js';
import { createBackOff, isAborted, pauseUnlessAborted } from '../../membership/back-off.js';
import type { NodeView } from '../../membership/node-streams.js';
import { heardEpochOf } from '../../membership/overtaken.js';
import type { Logger } from '../../platform/log/log.js';
import type { PowerDevice } from '../../platform/power/power.js';
import { ladderOf, type FencerLeading } from '../leading.js';
import { wordsOf } from '../sight/looks.js';
import { checkOwner, nameOf, readOwnPower } from '../sight/power-reads.js';
import { about, ActionEnded, hasSwitched, joinedAgain, type FenceJournal } from './journal.js';

const READS_ON = 'it is on';
const POWER_RULE: RuleName = 'power is off';

/** What a rung came to: a proof, or what is missing for one. */
type Outcome = { proof: string } | { missing: string; againInMs?: number };

/**
 * Works one action's ladder, from the top again after every pass that proved nothing, until it has a proof, the node
 * lives again, or the term ends; the next leader then goes on from the journal.
 */
export class LadderRun {
  readonly #log: Logger;

  constructor(
    private readonly leading: FencerLeading,
    private readonly journal: FenceJournal,
    private readonly id: string,
  ) {
    this.#log = leading.env.log.child('ladder');
  }

  /** Settles when the action has ended or the term has. Never rejects. */
  async run(): Promise<void> {
    const { env, term, settings } = this.leading;
    const { retryFirstMs: firstMs, retryMostMs: mostMs } = settings.timings;
    const backOff = createBackOff(env, { firstMs, mostMs });
    while (!isAborted(term.ended)) {
      let againInMs: number | undefined;
      try {
        againInMs = await this.#pass();
      } catch (error) {
        if (error instanceof ActionEnded || isAborted(term.ended)) return;
        this.#log.warn('a pass of the ladder failed; it is tried again', { action: this.id, error });
      }
      if (againInMs === undefined) await backOff.pause(term.ended);
      else await pauseUnlessAborted(env.clock, againInMs, term.ended);
    }
  }

  /** One time down the ladder. Rejects with ActionEnded at the end of the action. */
  async #pass(): Promise<number | undefined> {
    const action = this.#action();
    if (action.state !== FenceActionState.RUNNING) {
      // What was missing at the end of the last pass stays said: it is what this one looks for.
      await this.journal.change(this.id, (now) => ({ ...now, state: FenceActionState.RUNNING }));
    }
    const { env } = this.leading;
    const devices = env.bmcs.devices(action.node);
    const missing: string[] = [];
    let againInMs: number | undefined;
    await this.#settleIf(await this.#readsOff(devices));
    await this.#stillDead();
    for (const rung of planOf(ladderOf(this.leading, action.node), devices.length)) {
      await this.#stillWanted();
      const outcome = await this.#climb(rung, devices);
      await this.#settleIf(outcome);
      if ('proof' in outcome) continue;
      missing.push(outcome.missing);
      againInMs = outcome.againInMs ?? againInMs;
    }
    await this.#stillWanted();
    await this.#nothingProven(devices.length === 0 ? ['no device is configured for it', ...missing] : missing);
    return againInMs;
  }

  /** Confirms and ends, where there is a proof. */
  async #settleIf(outcome: Outcome | undefined): Promise<void> {
    if (outcome === undefined || !('proof' in outcome)) return;
    await this.journal.confirm(this.id, outcome.proof);
    throw new ActionEnded('it is proven');
  }

  async #climb(rung: Rung, devices: readonly PowerDevice[]): Promise<Outcome> {
    switch (rung.kind) {
      case 'stop-vms':
        return await this.#stopVms();
      case 'power': {
        const device = devices[rung.device];
        return device === undefined ? { missing: 'the device is not configured any more' } : await this.#powerOff(device);
      }
      case 'watchdog':
        return this.#watchdogExpired();
    }
  }

  /** Before anything is switched: a host that is off already needs nothing but this. */
  async #readsOff(devices: readonly PowerDevice[]): Promise<Outcome | undefined> {
    const [device] = devices;
    if (device === undefined) return undefined;
    const ended = await this.journal.begin(this.id, ATTEMPTS.readPower, nameOf(device));
    let outcome: Outcome;
    try {
      const state = await readOwnPower(device, this.#view().record.hostUuid, this.#call());
      outcome = state === 'off' ? await this.#believed(device, 'was off already') : { missing: READS_ON };
    } catch (error) {
      outcome = { missing: wordsOf(error) };
    }
    await ended('proof' in outcome, 'proof' in outcome ? outcome.proof : outcome.missing);
    return outcome;
  }

  /** Proves nothing: an agent that hangs stops nothing. It spares guests that can still be shut down. */
  async #stopVms(): Promise<Outcome> {
    const { env, term, settings } = this.leading;
    const { name, record } = this.#view();
    const isHeard = this.leading.judging.livesBy(name).length > 0;
    const deadlineMs = isHeard ? settings.timings.agentMs : settings.timings.agentSilentMs;
    const header = { leaderRole: LeaderRole.FENCER, leaderEpoch: term.leaderEpoch, incarnation: record.incarnation };
    const ended = await this.journal.begin(this.id, ATTEMPTS.stopVms, '');
    let detail: string;
    try {
      const call = { deadlineMs, signal: term.ended };
      const { runningVmIds } = await env.peers.agent(record.address).stopAllVms({ header, fenceActionId: this.id }, call);
      detail = runningVmIds.length === 0 ? 'its agent says that no VM runs there' : `still running: ${runningVmIds.join(', ')}`;
    } catch (error) {
      const heard = heardEpochOf('fencer', error);
      if (heard !== undefined) term.overtaken(heard);
      detail = `its agent did not stop its VMs: ${wordsOf(error)}`;
    }
    await ended(false, detail);
    return { missing: detail };
  }

  async #powerOff(device: PowerDevice): Promise<Outcome> {
    const { env } = this.leading;
    const { hostUuid } = this.#view().record;
    try {
      await checkOwner(device, hostUuid, this.#call());
    } catch (error) {
      return { missing: wordsOf(error) };
    }
    await this.#stillWanted();
    // Writing it down checks the session; the deed comes at once after it.
    const ended = await this.journal.begin(this.id, ATTEMPTS.powerOff, nameOf(device));
    await env.points('fencer/power-off/noted');
    let said: string;
    try {
      await device.powerOff(this.#call());
      said = 'the device took the order';
    } catch (error) {
      said = wordsOf(error);
    }
    await env.points('fencer/power-off/done');
    await ended(false, said);
    return await this.#readBack(device, said);
  }

  /** Until it reads off, or the limit passes: no device is believed that it did what it was told. */
  async #readBack(device: PowerDevice, said: string): Promise<Outcome> {
    const { env, term, settings } = this.leading;
    const { readBackMs, readEveryMs } = settings.timings;
    const { hostUuid } = this.#view().record;
    const ended = await this.journal.begin(this.id, ATTEMPTS.readBack, nameOf(device));
    const untilMs = env.clock.nowMs() + readBackMs;
    /** The power, or why it is not known. */
    let last = '';
    do {
      try {
        last = await readOwnPower(device, hostUuid, this.#call());
      } catch (error) {
        last = wordsOf(error);
      }
      if (last === 'off') break;
      await pauseUnlessAborted(env.clock, readEveryMs, term.ended);
    } while (env.clock.nowMs() < untilMs && !isAborted(term.ended));
    const outcome: Outcome =
      last === 'off'
        ? await this.#believed(device, 'was switched off and reads off')
        : { missing: `${nameOf(device)}: ${said}, and then: ${last === 'on' ? 'it reads on' : last}` };
    await ended('proof' in outcome, 'proof' in outcome ? outcome.proof : outcome.missing);
    await env.points('fencer/read-back');
    return outcome;
  }

  /** A host that reads off and speaks is not off, whatever its device says. */
  async #believed(device: PowerDevice, what: string): Promise<Outcome> {
    const { env, term, settings, judging } = this.leading;
    const { silenceMs } = settings.timings;
    const { name, record } = this.#view();
    if (record.powerDistrust !== '') return { missing: `${nameOf(device)} says off and is not believed: ${record.powerDistrust}` };
    const offAtMs = env.clock.nowMs();
    const spokeAtMs = judging.lastWordAtMs(name);
    if (spokeAtMs !== undefined && offAtMs - spokeAtMs < silenceMs) await pauseUnlessAborted(env.clock, silenceMs, term.ended);
    const spokeNowAtMs = judging.lastWordAtMs(name);
    if (spokeNowAtMs !== undefined && spokeNowAtMs > offAtMs) {
      return { missing: `${nameOf(device)} says off, and its agent spoke after that` };
    }
    return { proof: `it ${what}, by ${nameOf(device)}` };
  }

  /** The session was seen gone for longer than an armed watchdog can take to reset the host. */
  #watchdogExpired(): Outcome {
    const { selfFence } = this.#view().record;
    if (selfFence?.mode !== SelfFenceMode.WATCHDOG) {
      return { missing: 'no watchdog is armed on it, so that waiting proves nothing' };
    }
    const expiryMs = proofByExpiryMs({
      afterMs: milliseconds(selfFence.after, 0),
      watchdogMs: milliseconds(selfFence.watchdog, 0),
    });
    const goneMs = this.leading.judging.sessionGoneMs(this.#view().name);
    if (goneMs === undefined) return { missing: 'its session in the store is not gone, so that its watchdog may be fed' };
    if (goneMs < expiryMs) {
      const leftMs = expiryMs - goneMs;
      return { missing: `its armed watchdog proves it off in ${seconds(leftMs)}`, againInMs: leftMs };
    }
    return { proof: `its armed watchdog expired: its session is gone for ${seconds(goneMs)}, and ${seconds(expiryMs)} are enough` };
  }

  async #nothingProven(missing: readonly string[]): Promise<void> {
    const action = this.#action();
    const detail = `nothing proves it off: ${missing.join('; ')}; a person who knows may say so: lockstep fence ack ${action.node}`;
    const signs = this.leading.judging.livesBy(action.node);
    // A person asked, the host lives, and nothing worked: nobody waits for this proof.
    if (!action.automatic && signs.length > 0) {
      await this.journal.change(this.id, (now) => ({
        ...now,
        ...{ state: FenceActionState.FAILED, reason: 'PROOF_MISSING', detail: `it lives on (${signs.join(' and ')}), and ${detail}` },
        endTime: this.leading.env.clock.wallTime(),
      }));
      throw new ActionEnded('it failed');
    }
    await this.journal.change(this.id, (now) => ({
      ...now,
      ...{ state: FenceActionState.UNCERTAIN, reason: 'PROOF_MISSING', detail },
    }));
    if (action.reason === 'PROOF_MISSING') return;
    this.#log.error(`${action.node}: ${detail}`, { action: this.id });
    const alert = { severity: EventSeverity.ERROR, reason: 'PROOF_MISSING', message: `${action.node}: ${detail}` };
    await this.leading.tell({ ...about(action), ...alert });
  }

  /** Right before whatever cannot be taken back: the node's life is still the same, and gives no sign. */
  async #stillWanted(): Promise<void> {
    const action = this.#action();
    const view = this.leading.streams.node(action.node);
    if (view !== undefined && view.record.incarnation !== action.incarnation) {
      await this.journal.end(this.id, 'JOINED_AGAIN', joinedAgain(action));
      throw new ActionEnded('it joined again');
    }
    const signs = action.automatic ? this.leading.judging.livesBy(action.node) : [];
    if (signs.length === 0) return;
    await this.journal.end(this.id, 'SIGNS_OF_LIFE', `${action.node} lives: ${signs.join(' and ')}`);
    throw new ActionEnded('it lives');
  }

  /** What was taken for dead by its power alone, and reads on now, gets all its throws before it is switched off. */
  async #stillDead(): Promise<void> {
    const { node, automatic, requestReason, attempts } = this.#action();
    if (!automatic || !requestReason.startsWith(POWER_RULE) || hasSwitched({ attempts })) return;
    const isDead = this.leading.judging.verdictOf(node)?.judgement === NodeJudgement.DEAD_UNPROVEN;
    const reading = attempts.at(-1);
    if (isDead || reading?.rung !== ATTEMPTS.readPower || reading.detail !== READS_ON) return;
    await this.journal.end(this.id, 'SIGNS_OF_LIFE', `the power of ${node} reads on again`);
    throw new ActionEnded('its power is on');
  }

  #action(): FenceAction {
    const stored = this.journal.get(this.id);
    if (stored === undefined) throw new ActionEnded('its record is gone');
    return stored.record;
  }

  #view(): NodeView {
    const { node } = this.#action();
    const view = this.leading.streams.node(node);
    if (view === undefined) throw new Error(`the record of ${node} is gone`);
    return view;
  }

  #call(): { deadlineMs: number; signal: AbortSignal } {
    return { deadlineMs: this.leading.settings.timings.deviceCallMs, signal: this.leading.term.ended };
  }
}
