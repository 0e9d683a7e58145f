// SPDX-License-Identifier: Apache-2.0
import { randomBytes, randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { MigrationMode, MigrationState, VmState, type Migration } from '@lockstep/sdk';
import {
  closeDisk,
  ensureImage,
  guestXml,
  openDisk,
  until,
  type Disk,
  type HostLayout,
} from '#lab';
import { expectedMemory, type Cell } from './cells.js';
import { hasEnded, isSettled, nameOf, strayOf, type Cluster } from './cluster.js';
import { breakIt, type Broken, type Scene } from './faults.js';
import { diskProblem, historyOf, sizesOf } from './history.js';
import { Monitor } from './monitor.js';
import { Stand } from './stand.js';

const HEALTHY_LIMIT_MS = 90_000;
const START_LIMIT_MS = 60_000;
const REACH_LIMIT_MS = 60_000;
const SETTLE_LIMIT_MS = 90_000;
const COUNT_LIMIT_MS = 30_000;
const LOOK_EVERY_MS = 150;
/** Makes the guest's memory take some seconds, for what is broken while it is sent. */
const SLOW_BYTES_PER_SECOND = 5n * 1024n * 1024n;
/** A second of counting. */
const A_SECOND = 18;

/** What became of one cell. */
export interface Outcome {
  /** How the migration ended; where it did not, how it stands. */
  state: string;
  reason: string;
  /** From the fault to everything being settled. */
  settledMs: number;
  /** It waited in between, in this state and for this reason, for what was broken to come back. */
  waited: string;
  /** The guest's memory was lost, and it started anew. */
  anew: boolean;
  /** Why the cell failed; empty where it passed. */
  problems: string[];
}

interface Guest {
  id: string;
  name: string;
  disk: Disk;
}

/** One cell from its beginning to its end. Never throws: what goes wrong is the outcome's. */
export async function runCell(cluster: Cluster, cell: Cell): Promise<Outcome> {
  const outcome: Outcome = { state: '', reason: '', settledMs: 0, waited: '', anew: false, problems: [] };
  const stand = new Stand(cluster.lab, cell.row.point);
  let guest: Guest | undefined;
  try {
    const leader = await cluster.healthy(HEALTHY_LIMIT_MS);
    const [source, target] = cluster.lab.hosts.filter((host) => host !== leader);
    if (source === undefined || target === undefined) throw new Error('there are not enough hosts');
    guest = await startGuest(cluster, source);
    const monitor = new Monitor(cluster.lab, guest.name);
    try {
      await story({ cluster, cell, outcome, stand, guest, scene: { lab: cluster.lab, guest: guest.name, leader, source, target } });
    } finally {
      outcome.problems.push(...(await monitor.end()));
    }
  } catch (error) {
    outcome.problems.push(error instanceof Error ? error.message : String(error));
  } finally {
    stand.release();
  }
  if (guest !== undefined) {
    await removeGuest(cluster, guest).catch((error: unknown) => {
      outcome.problems.push(`cannot be removed: ${error instanceof Error ? error.message : String(error)}`);
    });
  }
  return outcome;
}

interface Story {
  cluster: Cluster;
  cell: Cell;
  outcome: Outcome;
  stand: Stand;
  guest: Guest;
  scene: Scene;
}

async function story(all: Story): Promise<void> {
  const { cluster, cell, outcome, stand, guest, scene } = all;
  stand.arm();
  const id = await begin(all);
  await stand.reached(REACH_LIMIT_MS);
  const brokenAtMs = performance.now();
  const broken = await breakIt(cell.fault, scene);
  stand.release();
  let last: Migration | undefined;
  try {
    last = await settlesAlone(all, id, broken);
  } finally {
    await broken.mend();
  }
  try {
    await until('everything is settled', SETTLE_LIMIT_MS, async () => {
      last = (await cluster.migration(id)) ?? last;
      if (last === undefined || !hasEnded(last)) return last === undefined ? 'nobody tells' : `${nameOf(last.state)}: ${last.detail}`;
      const vm = await cluster.vm(guest.id);
      return isSettled(vm) ? undefined : `the VM is ${JSON.stringify(vm?.status?.detail ?? '?')}`;
    });
  } finally {
    outcome.settledMs = performance.now() - brokenAtMs;
    outcome.state = last === undefined ? '?' : nameOf(last.state);
    outcome.reason = last?.reason ?? '';
  }
  await cluster.healthy(HEALTHY_LIMIT_MS);
  const home = (await cluster.vm(guest.id))?.placement?.node ?? '';
  await isWell(all, home);
  const { restarts } = historyOf(scene.lab, guest.name);
  outcome.anew = restarts > 0;
  judge(all, last);
  await movesAgain(all, home);
}

/** Asks for the move and, for the way back, cancels it in mid-transfer. */
async function begin({ cluster, cell: { row }, guest, scene }: Story): Promise<string> {
  const slow = row.path === 'return' || row.point === 'scheduler/sending';
  const { migration } = await cluster.api.scheduler.createMigration({
    vm: guest.id,
    targetNode: scene.target.name,
    mode: MigrationMode.LIVE_ONLY,
    bandwidthLimitBytesPerSecond: slow ? SLOW_BYTES_PER_SECOND : 0n,
    requestId: randomUUID(),
  });
  const id = migration?.id ?? '';
  if (row.path === 'return') {
    await until('memory is being sent', REACH_LIMIT_MS, async () => {
      const now = await cluster.migration(id);
      return (now?.progress?.memorySentBytes ?? 0n) > 0n ? undefined : 'nothing is sent';
    });
    await cluster.api.scheduler.cancelMigration({ id });
  }
  return id;
}

/** Until the migration has ended, or waits and says why, or has had its time without what was broken. */
async function settlesAlone({ cluster, guest, outcome }: Story, id: string, { patienceMs }: Broken): Promise<Migration | undefined> {
  const untilMs = performance.now() + patienceMs;
  let last: Migration | undefined;
  while (performance.now() < untilMs) {
    last = (await cluster.migration(id)) ?? last;
    if (last !== undefined && hasEnded(last) && isSettled(await cluster.vm(guest.id))) break;
    if (last?.state === MigrationState.UNCERTAIN) {
      if (last.reason === '' || last.detail === '') outcome.problems.push('it waits in UNCERTAIN and does not say why');
      outcome.waited = `UNCERTAIN, ${last.reason}`;
    }
    await sleep(LOOK_EVERY_MS);
  }
  return last;
}

/** Runs on its node alone, counts on, with one history of memory and disk. */
async function isWell({ cluster, guest, scene, outcome }: Story, home: string): Promise<void> {
  await until(`${guest.name} runs on ${home} alone`, COUNT_LIMIT_MS, async () => strayOf(await cluster.copies(guest.name), home));
  const goal = historyOf(scene.lab, guest.name).last + A_SECOND;
  await until(`${guest.name} counts on`, COUNT_LIMIT_MS, () => {
    const { last, problems } = historyOf(scene.lab, guest.name);
    return Promise.resolve(last >= goal || problems.length > 0 ? undefined : `it is at ${last}`);
  });
  outcome.problems.push(...historyOf(scene.lab, guest.name).problems);
  const problem = diskProblem(scene.lab, guest.name, guest.disk);
  if (problem !== undefined) outcome.problems.push(problem);
}

function judge({ cell, outcome }: Story, last: Migration | undefined): void {
  const expected = expectedMemory(cell);
  if (expected === 'same' && outcome.anew) outcome.problems.push('its memory was lost, though the table keeps it');
  if (expected === 'anew' && !outcome.anew) outcome.problems.push('it goes on with memory that was killed');
  if (last === undefined) return;
  if (last.state !== MigrationState.SUCCEEDED && last.reason === '') outcome.problems.push('it ended without a reason');
}

/** Nothing that was left over stands in the way of the next move. */
async function movesAgain(all: Story, home: string): Promise<void> {
  const { cluster, guest, scene, outcome } = all;
  const settledSizes = sizesOf(scene.lab, guest.name);
  const other = [scene.source, scene.target].find(({ name }) => name !== home) ?? scene.target;
  const { migration } = await cluster.api.scheduler.createMigration({
    vm: guest.id,
    targetNode: other.name,
    mode: MigrationMode.LIVE_ONLY,
    requestId: randomUUID(),
  });
  const ended = await cluster.api.waitForMigration(migration?.id ?? '');
  if (ended.state !== MigrationState.SUCCEEDED) {
    outcome.problems.push(`the next move ended ${nameOf(ended.state)} (${ended.reason}): ${ended.detail}`);
    return;
  }
  await until(`${guest.name} runs on ${other.name} alone`, COUNT_LIMIT_MS, async () => strayOf(await cluster.copies(guest.name), other.name));
  const goal = historyOf(scene.lab, guest.name, settledSizes).last + A_SECOND / 2;
  await until(`${guest.name} counts on after the next move`, COUNT_LIMIT_MS, () => {
    const { last, problems } = historyOf(scene.lab, guest.name, settledSizes);
    return Promise.resolve(last >= goal || problems.length > 0 ? undefined : `it is at ${last}`);
  });
  outcome.problems.push(...historyOf(scene.lab, guest.name, settledSizes).problems);
}

async function startGuest({ api, lab }: Cluster, on: HostLayout): Promise<Guest> {
  const name = `kill-${randomBytes(3).toString('hex')}`;
  const disk = await openDisk(lab, name);
  const guest = { id: randomUUID(), name, disk };
  const kind = { kind: 'generation', disk } as const;
  await ensureImage(lab, kind);
  const domainXml = guestXml(lab, { ...kind, name, uuid: guest.id });
  await api.scheduler.defineVm({ spec: { domainXml }, node: on.name, start: true });
  await api.waitForVm(guest.id, [VmState.RUNNING], { patienceMs: START_LIMIT_MS });
  await until(`${name} counts`, START_LIMIT_MS, () => {
    const { last } = historyOf(lab, name);
    return Promise.resolve(last > 3 ? undefined : `it is at ${last}`);
  });
  return guest;
}

async function removeGuest({ api, lab }: Cluster, { id, disk }: Guest): Promise<void> {
  try {
    await api.scheduler.stopVm({ vm: id, force: true });
    await until('it has stopped', START_LIMIT_MS, async () => {
      const { vm } = await api.scheduler.getVm({ vm: id });
      return vm?.status?.state === VmState.STOPPED ? undefined : (vm?.status?.detail ?? '?');
    });
    await api.scheduler.undefineVm({ vm: id });
  } finally {
    await closeDisk(lab, disk);
  }
}

