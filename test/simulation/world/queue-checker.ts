// SPDX-License-Identifier: Apache-2.0
import { ClusterOptions, type Migration, MigrationState } from '@lockstep/sdk/v1';
import { keys, nameOf } from '@lockstep/services/core/records/keys.js';
import type { DriverOp } from '@lockstep/services/platform/store/driver.js';
import type { Violations } from './violations.js';

const ENDS: readonly MigrationState[] = [MigrationState.SUCCEEDED, MigrationState.ABORTED, MigrationState.FAILED];

/** What the API promises where nobody set anything else. */
const DEFAULTS = { perCluster: 10, outPerNode: 2, inPerNode: 2 };
const MOST_WAITING = 1_000;

type Limits = typeof DEFAULTS;

interface Moment {
  /** How many were committed before. */
  transaction: number;
  ms: number;
}

const BEGINNING: Moment = { transaction: 0, ms: 0 };

/** A migration, and since when it could have been taken up (that waits), or is open. */
interface Entry {
  migration: Migration;
  since: Moment;
}

/** Until a leader surely knows what it has written: an answer may be slow, or be lost and looked for. */
const KNOWN_MS = { calm: 200, otherwise: 60_000 };

/**
 * The queue of moves, from outside: its bounds are never passed, and nobody is overtaken who could have gone first.
 *
 * A leader takes a move up before it writes that down. So what counts is only what holds whatever it has in hand beside
 * the records: where all places are taken by moves that are open on record, one that waits is in nobody's hands; and the
 * last of those that are open was taken up when all others, too, held their places.
 */
export class QueueChecker {
  readonly #waiting = new Map<string, Entry>();
  readonly #open = new Map<string, Entry>();
  /** By node: when the last move out of it ended. */
  readonly #lastEnded = new Map<string, Moment>();
  /** Until when all places were taken: of the cluster, out of a node, into a node. */
  readonly #fullUntil = new Map<string, Moment>();
  readonly #knownMs: number;
  readonly #limits: { since: Moment; limits: Limits }[] = [{ since: BEGINNING, limits: DEFAULTS }];
  #now = 0;

  constructor(
    private readonly violations: Violations,
    private readonly migrationOf: (id: string) => Migration | undefined,
    private readonly nowMs: () => number,
    /** Nothing keeps a node from taking part, so that the sources' turns can be told from outside, too. */
    private readonly isCalm: boolean,
  ) {
    this.#knownMs = isCalm ? KNOWN_MS.calm : KNOWN_MS.otherwise;
  }

  committed(ops: readonly DriverOp[]): void {
    this.#now += 1;
    for (const op of ops) {
      if (!('value' in op)) continue;
      if (op.key === keys.options) this.#limits.push({ since: this.#moment(), limits: limitsOf(ClusterOptions.fromJSON(JSON.parse(op.value))) });
      if (!op.key.startsWith(keys.migrations)) continue;
      const migration = this.migrationOf(nameOf(op.key));
      if (migration !== undefined) this.#written(migration);
    }
  }

  #written(migration: Migration): void {
    const { id, state, vmId } = migration;
    if (ENDS.includes(state)) {
      this.#waiting.delete(id);
      if (this.#open.has(id)) this.#ended(migration);
      for (const waiting of this.#waiting.values()) if (waiting.migration.vmId === vmId) waiting.since = this.#moment();
      return;
    }
    if (state === MigrationState.PENDING) {
      this.#waiting.set(id, { since: this.#waiting.get(id)?.since ?? this.#moment(), migration });
      if (this.#waiting.size > MOST_WAITING) this.violations.report('QUEUE', `${String(this.#waiting.size)} migrations wait`);
      return;
    }
    const waited = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (!this.#open.has(id)) this.#open.set(id, { migration, since: this.#moment() });
    if (waited !== undefined) this.#opened(migration, waited.since);
  }

  #ended({ id, sourceNode, targetNode }: Migration): void {
    const { perCluster, outPerNode, inPerNode } = this.#widestSince(BEGINNING);
    const now = this.#moment();
    if (this.#open.size >= perCluster) this.#fullUntil.set('', now);
    if (this.#outOf(sourceNode).length >= outPerNode) this.#fullUntil.set(`from ${sourceNode}`, now);
    if (this.#into(targetNode).length >= inPerNode) this.#fullUntil.set(`to ${targetNode}`, now);
    this.#open.delete(id);
    this.#lastEnded.set(sourceNode, now);
  }

  #opened(opened: Migration, since: Moment): void {
    const limits = this.#widestSince(since);
    const { sourceNode, targetNode } = opened;
    const [all, out, into] = [this.#open.size, this.#outOf(sourceNode).length, this.#into(targetNode).length];
    this.#bound(opened, all, limits.perCluster, 'of the cluster');
    this.#bound(opened, out, limits.outPerNode, `out of ${sourceNode}`);
    this.#bound(opened, into, limits.inPerNode, `into ${targetNode}`);
    const targetIsFull = all >= limits.perCluster || into >= limits.inPerNode;
    const pairIsFull = targetIsFull || out >= limits.outPerNode;
    // While its places were taken nobody had it in hand: it was chosen later.
    const atTarget = latest(since, this.#fullUntil.get(''), this.#fullUntil.get(`to ${targetNode}`));
    const atPair = latest(atTarget, this.#fullUntil.get(`from ${sourceNode}`));
    for (const { migration, since: ready } of this.#waiting.values()) {
      if (migration.targetNode !== targetNode) continue;
      const isPair = migration.sourceNode === sourceNode;
      const chosen = isPair ? atPair : atTarget;
      if (ready.ms + this.#knownMs > chosen.ms) continue;
      const isOvertaken = isPair ? pairIsFull && goesFirst(migration, opened) : targetIsFull && this.#hasTurn(migration, opened, chosen);
      if (!isOvertaken) continue;
      const detail = 'which waited for the same places before it was chosen';
      this.violations.report('ORDER', `migration ${opened.id.slice(-6)} begins before ${migration.id.slice(-6)}, ${detail}`);
    }
  }

  #bound({ id }: Migration, count: number, limit: number, where: string): void {
    if (count <= limit) return;
    this.violations.report('QUEUE', `migration ${id.slice(-6)} begins as number ${String(count)} ${where}, where ${String(limit)} may be open at once`);
  }

  /** Sources take turns: one that has nothing under way comes before the next of one that has. */
  #hasTurn(waiting: Migration, opened: Migration, chosen: Moment): boolean {
    if (!this.isCalm || waiting.priority !== opened.priority) return false;
    const { sourceNode } = waiting;
    const rivals = [...this.#waiting.values()].filter(({ migration }) => migration.sourceNode === sourceNode && migration !== waiting);
    const isNext = rivals.every(({ migration }) => migration.targetNode === waiting.targetNode && goesFirst(waiting, migration));
    const endedEarlier = (this.#lastEnded.get(sourceNode)?.transaction ?? 0) < chosen.transaction;
    const isIdle = endedEarlier && isNext && this.#outOf(sourceNode).length === 0;
    return isIdle && this.#outOf(opened.sourceNode).some(({ since }) => since.transaction < chosen.transaction);
  }

  #outOf(node: string): Entry[] {
    return [...this.#open.values()].filter(({ migration }) => migration.sourceNode === node);
  }

  #into(node: string): Entry[] {
    return [...this.#open.values()].filter(({ migration }) => migration.targetNode === node);
  }

  #moment(): Moment {
    return { transaction: this.#now, ms: this.nowMs() };
  }

  /** The widest limits that a leader may have worked by at any time from then on. */
  #widestSince(moment: Moment): Limits {
    const from = this.#limits.findLastIndex(({ since }) => since.ms + this.#knownMs <= moment.ms);
    const held = this.#limits.slice(Math.max(0, from)).map(({ limits }) => limits);
    const widest = (pick: (limits: Limits) => number): number => Math.max(...held.map(pick));
    return {
      perCluster: widest(({ perCluster }) => perCluster),
      outPerNode: widest(({ outPerNode }) => outPerNode),
      inPerNode: widest(({ inPerNode }) => inPerNode),
    };
  }
}

/** Of two between the same nodes, both free to go. */
function goesFirst(waiting: Migration, opened: Migration): boolean {
  if (waiting.priority !== opened.priority) return waiting.priority > opened.priority;
  return waiting.id < opened.id;
}

function latest(first: Moment, ...others: (Moment | undefined)[]): Moment {
  return others.reduce<Moment>((late, other) => (other !== undefined && other.transaction > late.transaction ? other : late), first);
}

function limitsOf({ migrationsPerCluster, migrationsOutPerNode, migrationsInPerNode }: ClusterOptions): Limits {
  return {
    perCluster: migrationsPerCluster ?? DEFAULTS.perCluster,
    outPerNode: migrationsOutPerNode ?? DEFAULTS.outPerNode,
    inPerNode: migrationsInPerNode ?? DEFAULTS.inPerNode,
  };
}
