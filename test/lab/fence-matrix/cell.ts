// SPDX-License-Identifier: Apache-2.0
import { setTimeout as sleep } from 'node:timers/promises';
import { FenceActionState, type FenceAction, type NodeEvidence, type Vm } from '@lockstep/sdk';
import type { HostLayout } from '#lab';
import type { Cluster } from '../kill-matrix/cluster.js';
import { Monitor, togetherAt } from '../kill-matrix/monitor.js';
import { expectedEnding, type Cell } from './cells.js';
import * as stage from './stage.js';

/** With the longest ladder, after six throws, on a machine that is busy. */
const END_LIMIT_MS = 240_000;
/** An action that waits is looked at for so long, and nothing may start meanwhile. */
const WAITS_MS = 12_000;
/** A host whose agent alone is silent is looked at for longer than it takes to miss all throws. */
const LEFT_ALONE_MS = 40_000;
const LOOK_EVERY_MS = 100;
/** A guest that printed so shortly before the end of the cell runs on. */
const RUNS_ON_MS = 2_000;

/** What became of one cell. */
export interface Outcome {
  /** How it ended: the VM runs elsewhere, or is waited for, or runs on where it is. */
  ending: 'starts' | 'waits' | 'left alone' | 'nothing';
  /** Of the action, with its reason and sentence. */
  state: string;
  reason: string;
  detail: string;
  /** What proved the host dead. */
  proof: string;
  /** Milliseconds from the death to the journal's CONFIRMED, and to the first output elsewhere. */
  proofMs: number | undefined;
  startMs: number | undefined;
  /** What the VM says where it is not started. */
  vmDetail: string;
  /** How often the monitor saw two copies count at a time. */
  copies: number;
  /** What else led on the host that died. */
  leads: string[];
  /** Why the cell failed; empty where it passed. */
  problems: string[];
}

export const blank = (): Outcome => ({
  ending: 'nothing',
  state: '',
  reason: '',
  detail: '',
  proof: '',
  proofMs: undefined,
  startMs: undefined,
  vmDetail: '',
  copies: 0,
  leads: [],
  problems: [],
});

const wordOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
export const stateName = (state: FenceActionState): string =>
  Object.entries(FenceActionState).find(([, value]) => value === state)?.[0] ?? String(state);

/** One cell from its beginning to its end. Never throws: what goes wrong is the outcome's. */
export async function runCell(cluster: Cluster, cell: Cell): Promise<Outcome> {
  const outcome = blank();
  let guest: stage.Guest | undefined;
  let victim: HostLayout | undefined;
  try {
    await stage.healthy(cluster);
    ({ victim, leads: outcome.leads } = await stage.chooseVictim(cluster));
    guest = await stage.startGuest(cluster, victim);
    await stage.prepareMode(cluster, victim, cell.mode);
    await observeDeath(cluster, cell, victim, guest, outcome);
  } catch (error) {
    outcome.problems.push(wordOf(error));
  }
  try {
    if (victim !== undefined && outcome.ending === 'left alone') await stage.goOn(cluster, victim);
    else if (victim !== undefined) await stage.mend(cluster, victim, guest);
    if (guest !== undefined) await stage.removeGuest(cluster, guest);
  } catch (error) {
    outcome.problems.push(`afterwards: ${wordOf(error)}`);
  }
  return outcome;
}

interface Seen {
  action: FenceAction | undefined;
  vm: Vm | undefined;
  /** What is known of the host, as it was last told. */
  evidence: NodeEvidence | undefined;
  /** When a QEMU of the guest was last seen on the host, in milliseconds since 1970. */
  aliveAtMs: number;
}

const NOTHING_SEEN: Seen = { action: undefined, vm: undefined, evidence: undefined, aliveAtMs: 0 };

/** Lets the host of the guest die, and writes what was seen into the outcome. */
export async function observeDeath(cluster: Cluster, cell: Cell, victim: HostLayout, guest: stage.Guest, outcome: Outcome): Promise<void> {
  const { hosts } = cluster.lab;
  const monitor = new Monitor(cluster.lab, guest.name);
  let seen: Seen = { ...NOTHING_SEEN };
  let atMs = Date.now();
  let endedAtMs = atMs;
  try {
    const before = await stage.guestProcesses(await stage.processes(victim), guest.name);
    ({ atMs } = await stage.kill(cluster, victim, cell.death, cell.mode));
    seen = await watch(cluster, cell, { victim, guest, atMs, pids: before });
  } finally {
    endedAtMs = Date.now();
    outcome.problems.push(...(await monitor.end()));
  }
  const victimFile = hosts.indexOf(victim);
  const first = monitor.growths.find(({ file, atMs: grown }) => file !== victimFile && grown >= atMs);
  outcome.copies = togetherAt(monitor.growths).length;
  outcome.startMs = first === undefined ? undefined : first.atMs - atMs;
  const lastHereAtMs = monitor.growths.filter(({ file }) => file === victimFile).at(-1)?.atMs ?? 0;
  describe(outcome, seen, atMs, lastHereAtMs >= endedAtMs - RUNS_ON_MS);
  judge(outcome, cell, seen, atMs);
}

/** Looks until the cell has ended as it can end, or its time is over. */
async function watch(
  cluster: Cluster,
  cell: Cell,
  { victim, guest, atMs, pids }: { victim: HostLayout; guest: stage.Guest; atMs: number; pids: readonly number[] },
): Promise<Seen> {
  const seen: Seen = { ...NOTHING_SEEN };
  let over = false;
  const processes = async (): Promise<void> => {
    while (!over) {
      if (pids.some(stage.isAlive)) seen.aliveAtMs = Date.now();
      await sleep(LOOK_EVERY_MS);
    }
  };
  const looking = processes();
  let waitsSinceMs: number | undefined;
  try {
    while (Date.now() - atMs < END_LIMIT_MS) {
      seen.action = (await stage.actionSince(cluster, victim, atMs)) ?? seen.action;
      seen.vm = (await cluster.vm(guest.id)) ?? seen.vm;
      seen.evidence = (await stage.evidenceOf(cluster, victim)) ?? seen.evidence;
      const confirmed = seen.action?.state === FenceActionState.CONFIRMED;
      if (confirmed && stage.printedElsewhere(cluster, victim, guest.name).length > 0) break;
      if (expectedEnding(cell) === 'left alone' && Date.now() - atMs > LEFT_ALONE_MS) break;
      // Its ladder is worked again and again: between two waits it is RUNNING.
      const hasWaited = seen.action?.state === FenceActionState.UNCERTAIN || waitsSinceMs !== undefined;
      const waits = expectedEnding(cell) === 'starts' ? false : hasWaited || confirmed;
      waitsSinceMs = waits ? (waitsSinceMs ?? Date.now()) : undefined;
      if (waitsSinceMs !== undefined && Date.now() - waitsSinceMs > WAITS_MS) break;
      await sleep(LOOK_EVERY_MS);
    }
    // Two copies would show in the moments after the first output.
    await sleep(3_000);
  } finally {
    over = true;
    await looking;
  }
  return seen;
}

function describe(outcome: Outcome, { action, vm, evidence }: Seen, atMs: number, runsOn: boolean): void {
  outcome.state = action === undefined ? 'none' : stateName(action.state);
  outcome.reason = action?.reason ?? '';
  // Where nobody asked for an action, the evidence says why.
  outcome.detail = action?.detail ?? evidence?.rule ?? '';
  const { reason = '', detail = '' } = vm?.status ?? {};
  outcome.vmDetail = [reason, detail].filter((text) => text !== '').join(': ');
  outcome.proof = action?.attempts.filter(({ proven }) => proven).map(({ rung }) => rung).at(-1) ?? '';
  const confirmed = action?.state === FenceActionState.CONFIRMED ? action.endTime?.getTime() : undefined;
  outcome.proofMs = confirmed === undefined ? undefined : confirmed - atMs;
  if (outcome.startMs !== undefined) outcome.ending = 'starts';
  else if (action !== undefined) outcome.ending = 'waits';
  else outcome.ending = runsOn ? 'left alone' : 'nothing';
}

function judge(outcome: Outcome, cell: Cell, { aliveAtMs, vm }: Seen, atMs: number): void {
  const { problems, startMs, proofMs, copies } = outcome;
  const expected = expectedEnding(cell);
  const wanted = expected === 'refused' ? 'waits' : expected;
  if (outcome.ending !== wanted) problems.push(`it ended with "${outcome.ending}", and not with "${wanted}"`);
  if (copies > 0) problems.push(`two copies counted at ${String(copies)} moments`);
  if (startMs !== undefined && (proofMs === undefined || proofMs > startMs)) problems.push('the start came before the proof');
  if (startMs !== undefined && aliveAtMs > atMs + startMs) problems.push('the start came before the end of the old process');
  const isLocked = vm?.status?.reason === 'STORAGE_LOCKED';
  if (expected === 'refused' && proofMs !== undefined && !isLocked) problems.push('the VM does not wait for its storage');
  if (wanted !== 'starts' && outcome.reason === '' && outcome.detail === '' && outcome.vmDetail === '') {
    problems.push('it waits and does not say why');
  }
}
