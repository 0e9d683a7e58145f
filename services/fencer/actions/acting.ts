// SPDX-License-Identifier: Apache-2.0
import {
  EventSeverity,
  FenceActionState,
  FenceDrillState,
  NodeJudgement,
  NodeMode,
  ShutdownPolicy,
  type FenceAction,
} from '@lockstep/sdk/v1';
import { brake, type BrakeVerdict } from '../../core/fencing/brake.js';
import { isFenceEnded } from '../../core/fencing/transitions.js';
import type { RuleName } from '../../core/judgement/judge.js';
import { migrationCodec, optionsCodec, vmCodec } from '../../core/records/codec.js';
import { keys } from '../../core/records/keys.js';
import { isTerminal } from '../../core/migration/transitions.js';
import { isAborted, pauseUnlessAborted } from '../../membership/back-off.js';
import type { NodeView } from '../../membership/node-streams.js';
import type { Logger } from '../../platform/log/log.js';
import { disarmed } from '../arming.js';
import type { FencerLeading } from '../leading.js';
import { Aftermath } from './aftermath.js';
import { about, ActionEnded, joinedAgain, type FenceJournal } from './journal.js';
import { LadderRun } from './ladder-run.js';

const LOOK_EVERY_MS = 500;
const LEFT: RuleName = 'left in order';

/**
 * Turns judgements into fence actions and sees each to its end: asks for one where a node is dead, lets the brake decide
 * when it may go on, works its ladder, and hands the proof to the Scheduler. All of it is found again in the records,
 * so a new leader begins in the middle.
 */
export class Acting {
  readonly #log: Logger;
  readonly #runs = new Map<string, Promise<void>>();
  readonly #aftermath: Aftermath;
  /** When a node was seen empty in its maintenance: it is looked for again only after a while. */
  readonly #exempt = new Map<string, number>();

  constructor(
    private readonly leading: FencerLeading,
    private readonly journal: FenceJournal,
  ) {
    this.#log = leading.env.log.child('acting');
    this.#aftermath = new Aftermath(leading, journal);
  }

  /** Settles when the term ended and every run has. */
  async run(): Promise<void> {
    const { env, term, streams } = this.leading;
    while (!isAborted(term.ended)) {
      if (streams.loaded()) {
        await this.#guarded('asking', () => this.#askForDead());
        for (const action of this.journal.open()) await this.#guarded(action.id, () => this.#lookAt(action));
        this.#aftermath.look();
      }
      await pauseUnlessAborted(env.clock, LOOK_EVERY_MS, term.ended);
    }
    await Promise.all([...this.#runs.values(), this.#aftermath.done()]);
  }

  /** One action's trouble delays no other: it is logged and looked at again. */
  async #guarded(what: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (error instanceof ActionEnded || isAborted(this.leading.term.ended)) return;
      this.#log.warn(`looked in vain; looks again`, { what, error });
    }
  }

  async #askForDead(): Promise<void> {
    const { streams, judging, name } = this.leading;
    if (disarmed(this.leading) !== undefined) return;
    for (const view of streams.nodes()) {
      const verdict = judging.verdictOf(view.name);
      // The record may be newer than the verdict.
      if (view.record.fencedBy !== '') continue;
      if (verdict?.judgement !== NodeJudgement.DEAD_UNPROVEN || this.journal.openOf(view.name) !== undefined) continue;
      if (this.#isCycled(view.name) || (await this.#isExempt(view, verdict.rule))) continue;
      await this.journal.create({
        ...{ node: view.record, nodeIndex: view.recordIndex, automatic: true, reason: 'JUDGED_DEAD', requestedBy: `fencer ${name}`, requestId: '' },
        requestReason: `${verdict.rule}: ${verdict.detail}`,
      });
    }
  }

  /** It is off because a test of its ladder switched it off, and that switches it on again. */
  #isCycled(node: string): boolean {
    return this.leading.drills.get(node)?.record.state === FenceDrillState.RUNNING;
  }

  /**
   * A node in maintenance that nothing runs on may be switched off by whoever works on it. One that went down in order may
   * stay down where the cluster's policy has its VMs wait for it.
   */
  async #isExempt({ name, record }: NodeView, rule: RuleName): Promise<boolean> {
    const inMaintenance = record.mode === NodeMode.MAINTENANCE;
    if (!inMaintenance && rule !== LEFT) return false;
    const { env } = this.leading;
    const lookedAtMs = this.#exempt.get(name);
    if (lookedAtMs !== undefined && env.clock.nowMs() - lookedAtMs < 5_000) return true;
    const isExempt = (inMaintenance && !(await this.#holdsVms(name))) || (rule === LEFT && (await this.#freezes()));
    if (isExempt) this.#exempt.set(name, env.clock.nowMs());
    return isExempt;
  }

  async #freezes(): Promise<boolean> {
    const entry = await this.leading.env.store.get(keys.options, { consistency: 'consistent' });
    return entry !== undefined && optionsCodec.decode(entry.value, entry.index).shutdownPolicy === ShutdownPolicy.FREEZE;
  }

  async #holdsVms(node: string): Promise<boolean> {
    const { store } = this.leading.env;
    const vms = await store.list(keys.vms, { consistency: 'consistent' });
    if (vms.entries.some(({ value, index }) => vmCodec.decode(value, index).placement?.node === node)) return true;
    const migrations = await store.list(keys.migrations, { consistency: 'consistent' });
    return migrations.entries.some(({ value, index }) => {
      const { targetNode, state } = migrationCodec.decode(value, index);
      return targetNode === node && !isTerminal(state);
    });
  }

  async #lookAt(action: FenceAction): Promise<void> {
    if (this.#runs.has(action.id)) return;
    const { streams, judging } = this.leading;
    const view = streams.node(action.node);
    if (view !== undefined && view.record.incarnation !== action.incarnation) {
      await this.journal.end(action.id, 'JOINED_AGAIN', joinedAgain(action));
      return;
    }
    switch (action.state) {
      case FenceActionState.RUNNING:
      case FenceActionState.UNCERTAIN:
        this.#work(action);
        return;
      case FenceActionState.REQUESTED:
      case FenceActionState.HELD: {
        const signs = action.automatic ? judging.livesBy(action.node) : [];
        if (signs.length > 0) {
          await this.journal.end(action.id, 'SIGNS_OF_LIFE', `${action.node} lives: ${signs.join(' and ')}`);
        } else {
          await this.#askBrake(action);
        }
        return;
      }
      case FenceActionState.CONFIRMED:
      case FenceActionState.CANCELLED:
      case FenceActionState.FAILED:
      case FenceActionState.UNSPECIFIED:
      case FenceActionState.UNRECOGNIZED:
        return;
    }
  }

  async #askBrake(action: FenceAction): Promise<void> {
    const verdict = this.#brake(action);
    if (verdict.kind === 'go') {
      if (action.state === FenceActionState.HELD) return;
      await this.journal.change(action.id, (now) => ({
        ...now,
        ...{ state: FenceActionState.RUNNING, detail: 'the ladder is worked' },
      }));
      await this.leading.env.points('fencer/running');
      this.#work(action);
      return;
    }
    const state = verdict.kind === 'hold' ? FenceActionState.HELD : action.state;
    if (action.state === FenceActionState.HELD || (state === action.state && action.detail === verdict.reason)) return;
    const reason = verdict.kind === 'hold' ? 'TOO_MANY_DEAD' : 'WAITS_ITS_TURN';
    await this.journal.change(action.id, (now) => ({ ...now, state, reason, detail: verdict.reason }));
    this.#log.warn(`${action.node}: ${verdict.kind === 'hold' ? 'held' : 'waits'}: ${verdict.reason}`, { action: action.id });
    if (verdict.kind === 'wait') return;
    await this.leading.tell({
      ...about(action),
      ...{ severity: EventSeverity.ERROR, reason, message: `fencing ${action.node} is held: ${verdict.reason}` },
    });
  }

  #brake({ id, node, automatic, released }: FenceAction): BrakeVerdict {
    const { env, name, streams, judging, settings, startedAtMs } = this.leading;
    const views = streams.nodes();
    const verdict = judging.verdictOf(node);
    if (automatic && verdict?.judgement !== NodeJudgement.DEAD_UNPROVEN) {
      return { kind: 'wait', reason: 'this leader has not judged it dead itself yet' };
    }
    const others = views.filter((view) => view.name !== node && !this.#isCycled(view.name));
    const dead = new Set(this.#fencedLately());
    for (const { name: other } of others) {
      const judged = judging.verdictOf(other)?.judgement;
      if (judged === NodeJudgement.DEAD_UNPROVEN || this.journal.openOf(other)?.automatic === true) dead.add(other);
    }
    // Whoever went down in order says nothing of a trouble that strikes many.
    const left = (other: string): boolean => judging.verdictOf(other)?.rule === LEFT;
    for (const other of [...dead]) if (other === node || left(other)) dead.delete(other);
    if (left(node)) dead.clear();
    const silent = others.filter(
      ({ name: other }) => !dead.has(other) && !left(other) && (judging.verdictOf(other)?.throwsMissed ?? 0) > 0,
    );
    const running = this.journal
      .open()
      .filter((other) => other.id !== id && this.#runs.has(other.id) && other.state === FenceActionState.RUNNING);
    const stop = disarmed(this.leading);
    return brake({
      ...{ node, ownNode: name, automatic, released: released !== '' },
      disarmed: stop === undefined ? undefined : { mode: stop.mode, reason: stop.reason },
      blind: judging.blind(),
      leadingMs: env.clock.nowMs() - startedAtMs,
      nodesTotal: views.length,
      alsoDead: [...dead],
      alsoSilent: silent.map((view) => view.name),
      running: running.map((other) => other.node),
      limits: settings.brake,
    });
  }

  /** Nodes fenced within the window. Times of other leaders are by the wall clock: a little off, they only brake a little. */
  #fencedLately(): string[] {
    const { env, settings } = this.leading;
    const sinceMs = env.clock.wallTime().getTime() - settings.brake.windowMs;
    return this.journal
      .all()
      .filter(({ state, automatic, endTime, evidence }) => {
        const wentInOrder = evidence?.rule.startsWith(`${LEFT}:`) === true;
        return automatic && !wentInOrder && state === FenceActionState.CONFIRMED && (endTime?.getTime() ?? 0) > sinceMs;
      })
      .map(({ node }) => node);
  }

  #work({ id }: FenceAction): void {
    const running = new LadderRun(this.leading, this.journal, id).run().finally(() => {
      this.#runs.delete(id);
      const ended = this.journal.get(id)?.record;
      if (ended !== undefined && isFenceEnded(ended.state)) {
        this.#log.info(`${ended.node}: fence action ended: ${ended.detail}`, { action: id });
      }
    });
    this.#runs.set(id, running);
  }
}
