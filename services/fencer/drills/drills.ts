// SPDX-License-Identifier: Apache-2.0
import {
  EventSeverity,
  Fenceability,
  FenceDrillState,
  NodeJudgement,
  TestFencingResponse,
  type FenceDrill,
} from '@lockstep/sdk/v1';
import { keys } from '../../core/records/keys.js';
import { createBackOff, isAborted, pauseUnlessAborted } from '../../membership/back-off.js';
import { subjects } from '../../membership/events.js';
import type { NodeView } from '../../membership/node-streams.js';
import type { Logger } from '../../platform/log/log.js';
import type { FencerLeading } from '../leading.js';
import { markNode } from '../node-marks.js';
import { wordsOf } from '../sight/looks.js';
import { checkLadder, type Tested } from './checks.js';
import { DrillJournal } from './journal.js';
import { PowerCycle } from './power-cycle.js';
import { refuseHarm, refuseUnlessEmpty, refuseWhileCycled } from './preconditions.js';

/** One scheduled test at a time, and a minute between two: together they are no load for anybody's BMCs. */
const LOOK_EVERY_MS = 60_000;
/** What failed is tried again sooner, so that the alert ends soon after the fault does. */
const AGAIN_MS = 3_600_000;
/** Each test comes after between so much of the interval and all of it, so that those of all nodes spread out. */
const EARLIEST_SHARE = 0.75;
const PAUSES = { firstMs: 1_000, mostMs: 30_000 };
const SCHEDULE = 'fencer';

export interface DrillOptions {
  /** Really power it off and on. */
  powerCycle: boolean;
  by: string;
}

/**
 * Tests of the nodes' ladders, by people and by a schedule, before a host dies. A power cycle that its leader did not end
 * is ended by the next one: the node must not stay off.
 */
export class Drills {
  readonly #journal: DrillJournal;
  readonly #log: Logger;
  readonly #shares = new Map<string, number>();

  constructor(private readonly leading: FencerLeading) {
    this.#journal = new DrillJournal(leading);
    this.#log = leading.env.log.child('drills');
  }

  /** Settles when the term ended. */
  async run(): Promise<void> {
    const { env, term, streams } = this.leading;
    while (!isAborted(term.ended) && !streams.loaded()) await pauseUnlessAborted(env.clock, 100, term.ended);
    const left = this.#journal.running().map((drill) => this.#finish(drill, "the Fencer's leader ended in the middle of it"));
    while (!isAborted(term.ended)) {
      await pauseUnlessAborted(env.clock, LOOK_EVERY_MS, term.ended);
      if (!isAborted(term.ended)) await this.#testNextDue();
    }
    await Promise.all(left);
  }

  /** Fails with a reason where a power cycle is refused; what does not work is an answer. */
  async test(node: string, { powerCycle, by }: DrillOptions): Promise<TestFencingResponse> {
    refuseWhileCycled(this.leading, node);
    if (powerCycle) {
      refuseHarm(this.leading, node);
      await refuseUnlessEmpty(this.leading, node);
    }
    const tested = await checkLadder(this.leading, node);
    const drill = powerCycle && tested.failure === '' ? await this.#cycle(node, by, tested) : await this.#keep(node, by, tested);
    const passed = drill.state === FenceDrillState.PASSED;
    await this.#tell(drill, passed);
    const fenceability = passed ? Fenceability.FENCEABLE : Fenceability.NOT_FENCEABLE;
    return TestFencingResponse.create({ attempts: drill.attempts, fenceability, detail: drill.detail });
  }

  /** Goes on to its end whoever waits for it. */
  async #cycle(node: string, by: string, { attempts }: Tested): Promise<FenceDrill> {
    const { leading } = this;
    // Another call may have begun one while this one looked.
    refuseHarm(leading, node);
    const index = await refuseUnlessEmpty(leading, node);
    const begun = await this.#journal.begin(
      {
        ...{ node, state: FenceDrillState.RUNNING, powerCycle: true, requestedBy: by, attempts },
        ...{ incarnation: leading.streams.node(node)?.record.incarnation ?? 0n, detail: 'it is powered off and on' },
      },
      [{ op: 'check', key: keys.node(node), index }],
    );
    try {
      const { failure, lie } = await new PowerCycle(leading, this.#journal, node).run();
      const now = leading.streams.node(node)?.record;
      if (now !== undefined && now.powerDistrust !== lie) await markNode(leading, now, { powerDistrust: lie });
      const state = failure === '' ? FenceDrillState.PASSED : FenceDrillState.FAILED;
      const detail = failure === '' ? 'every rung works, and it was powered off and on' : failure;
      return await this.#journal.end(node, state, detail, { cycleFailure: failure });
    } catch (error) {
      if (!isAborted(leading.term.ended)) await this.#finish(begun, wordsOf(error));
      throw error;
    }
  }

  /** Brings back what a power cycle may have left off. Never rejects; gives up only with the term. */
  async #finish({ node }: FenceDrill, why: string): Promise<void> {
    const { env, term } = this.leading;
    const backOff = createBackOff(env, PAUSES);
    this.#log.warn(`${node}: a power cycle was broken off: ${why}; it is brought back`);
    while (!isAborted(term.ended)) {
      try {
        const drill = this.#journal.get(node);
        if (drill?.state !== FenceDrillState.RUNNING) return;
        const failure = await new PowerCycle(this.leading, this.#journal, node).finish(drill);
        const detail = `${why}; ${failure === '' ? 'nothing is left of it' : failure}`;
        await this.#tell(await this.#journal.end(node, FenceDrillState.INTERRUPTED, detail), false);
        return;
      } catch (error) {
        if (isAborted(term.ended)) return;
        this.#log.error(`${node} was powered off for a test and is not back yet; it is tried again`, { error });
      }
      await backOff.pause(term.ended);
    }
  }

  async #testNextDue(): Promise<void> {
    const due = this.leading.streams.nodes().find((view) => this.#isDue(view));
    if (due === undefined) return;
    try {
      const before = this.#journal.get(due.name)?.state;
      const drill = await this.#keep(due.name, SCHEDULE, await checkLadder(this.leading, due.name));
      const passed = drill.state === FenceDrillState.PASSED;
      if (before === drill.state || (before === undefined && passed)) return;
      await this.#tell(drill, passed);
    } catch (error) {
      if (!isAborted(this.leading.term.ended)) this.#log.warn(`${due.name} could not be tested; it is tried again`, { error });
    }
  }

  /** Only what lives can be tested. Times of other leaders are by the wall clock: a little off, they shift a test. */
  #isDue({ name }: NodeView): boolean {
    const { env, settings, judging } = this.leading;
    const { drillEveryMs } = settings;
    if (drillEveryMs === 0 || judging.verdictOf(name)?.judgement !== NodeJudgement.ALIVE) return false;
    const last = this.#journal.get(name);
    if (last === undefined) return true;
    if (last.state === FenceDrillState.RUNNING) return false;
    const share = this.#shares.get(name) ?? EARLIEST_SHARE + (1 - EARLIEST_SHARE) * env.random.next();
    this.#shares.set(name, share);
    const afterMs = last.state === FenceDrillState.PASSED ? drillEveryMs * share : Math.min(drillEveryMs * share, AGAIN_MS);
    const agoMs = env.clock.wallTime().getTime() - (last.endTime?.getTime() ?? 0);
    return agoMs < 0 || agoMs >= afterMs;
  }

  /** Keeps what a test without harm found. */
  async #keep(node: string, by: string, { attempts, failure }: Tested): Promise<FenceDrill> {
    this.#shares.delete(node);
    const { streams } = this.leading;
    const passed = failure === '';
    const endTime = this.leading.env.clock.wallTime();
    return await this.#journal.begin({
      ...{ node, state: passed ? FenceDrillState.PASSED : FenceDrillState.FAILED, requestedBy: by, attempts, endTime },
      ...{ incarnation: streams.node(node)?.record.incarnation ?? 0n, detail: passed ? 'every rung works' : failure },
      startTime: attempts[0]?.startTime ?? endTime,
      ...(passed ? { lastPassedTime: endTime } : {}),
    });
  }

  async #tell({ node, powerCycle, detail, requestedBy }: FenceDrill, passed: boolean): Promise<void> {
    await this.leading.tell({
      severity: passed ? EventSeverity.INFO : EventSeverity.ERROR,
      reason: passed ? 'FENCE_TEST_PASSED' : 'FENCE_TEST_FAILED',
      message: `fence test of ${node}${powerCycle ? ' with a power cycle' : ''}: ${detail}`,
      subject: subjects.node(node),
      actor: requestedBy,
    });
  }
}
