// SPDX-License-Identifier: Apache-2.0
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectMesh, type Lockstep } from '@lockstep/sdk';
import { continuityOf, ensureImage, guestXml, serversOf, until, type GuestKind, type Lab } from '#lab';
import { observeMove, Watcher, type Move } from './observe.js';
import { inOwnLab, type Say } from './own-lab.js';
import { loadNow, machineConditions, row, type Goal, type Report, type Row, type Table } from './report.js';
import { Mesh, Virsh, type GuestToMove, type Way } from './ways.js';

const READY_LIMIT_MS = 120_000;
const FILLED_LIMIT_MS = 300_000;
/** Between two moves: the last one's processes are gone and both hosts are quiet again. */
const PAUSE_MS = 500;
/** Not counted, one to and one fro by each way: daemons fill their caches and the JavaScript engine compiles. */
const WARM_UP_ROUNDS = 2;
const GOALS = { ratio: 1.1, gapMs: 10, beforeBeginMs: 400, transferMs: 3_000 };

interface Subject {
  title: string;
  name: string;
  kind: GuestKind;
  memoryMib: number;
  bandwidthMibPerSecond: number | undefined;
  /** It has done this many rounds of its timer when its memory is as it shall be. */
  ticksUntilFilled: number;
  /** Its transfer shall take long enough that beginning and end do not decide everything. */
  isLong: boolean;
}

const dirty = { kind: 'dirty', dirtyMib: 96, dirtyMibPerSecond: 4 } as const;

const subjects: readonly Subject[] = [
  {
    title: 'idle guest of 256 MiB, as fast as it goes',
    name: 'idle',
    kind: { kind: 'counter' },
    memoryMib: 256,
    bandwidthMibPerSecond: undefined,
    ticksUntilFilled: 36,
    isLong: false,
  },
  {
    title: `guest that rewrites ${dirty.dirtyMib} MiB at ${dirty.dirtyMibPerSecond} MiB/s, over 24 MiB/s`,
    name: 'busy',
    kind: dirty,
    memoryMib: dirty.dirtyMib + 16,
    bandwidthMibPerSecond: 24,
    ticksUntilFilled: Math.ceil((dirty.dirtyMib / dirty.dirtyMibPerSecond) * 18.3),
    isLong: true,
  },
];

type WayName = 'lockstep' | 'virsh';

interface Contestant {
  guest: GuestToMove;
  way: Way;
  moves: Move[];
}

type Contestants = Record<WayName, Contestant>;

/** Two guests of the same kind, one moved to and fro by the mesh and one by virsh, in turn, on the same two hosts. */
export async function benchMigration({ moves, say }: { moves: number; say: Say }): Promise<Report> {
  return await inOwnLab({ withServices: true, say }, async (lab) => {
    const lockstep = connectMesh({ servers: serversOf(lab) });
    const [first, second] = lab.hosts;
    if (first === undefined || second === undefined) throw new Error('the lab has fewer than two hosts');
    const watchers = await Promise.all([Watcher.open(first), Watcher.open(second)]);
    try {
      await allReady(lockstep, lab, say);
      const loadBefore = loadNow();
      const tables: Table[] = [];
      const goals: Goal[] = [];
      for (const subject of subjects) {
        const result = await contest({ lab, lockstep, watchers, subject, moves, say });
        tables.push(...result.tables);
        goals.push(...result.goals);
      }
      return {
        benchmark: 'migration',
        conditions: {
          ...machineConditions(),
          'load before / after': `${loadBefore} / ${loadNow()}`,
          method:
            `${moves} moves of each guest by each way, to and fro, in turn, after ${WARM_UP_ROUNDS} uncounted ones; both guests of a pair run all the time; ` +
            'libvirt tells Begin, standstill and RESUMED to an observer outside of both hosts',
          virsh: 'migrate --live --persistent --undefinesource --auto-converge, over both sockets; 300 ms allowed to both',
        },
        tables,
        goals,
      };
    } finally {
      await Promise.all(watchers.map((watcher) => watcher.close()));
      lockstep.close();
    }
  });
}

async function allReady(lockstep: Lockstep, lab: Lab, say: Say): Promise<void> {
  await until('all nodes are ready', READY_LIMIT_MS, async () => {
    try {
      const { nodes } = await lockstep.scheduler.listNodes({});
      const ready = nodes.filter((node) => node.ready).length;
      return ready === lab.hosts.length ? undefined : `${ready} of ${lab.hosts.length} are ready`;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  });
  say('all nodes are ready');
}

interface ContestInput {
  lab: Lab;
  lockstep: Lockstep;
  watchers: [Watcher, Watcher];
  subject: Subject;
  moves: number;
  say: Say;
}

async function contest(input: ContestInput): Promise<{ tables: Table[]; goals: Goal[] }> {
  const { lab, lockstep, watchers, subject, moves, say } = input;
  const mesh = new Mesh(lockstep);
  const contestants: Contestants = {
    lockstep: { guest: await guestOf(lab, subject, 'lockstep'), way: mesh, moves: [] },
    virsh: { guest: await guestOf(lab, subject, 'virsh'), way: new Virsh(), moves: [] },
  };
  const both = Object.values(contestants);
  let [source, target] = watchers;
  for (const { way, guest } of both) await way.begin(guest, source.host);
  say(`${subject.title}: waiting until its memory is filled`);
  for (const { guest } of both) await filled(lab, subject, guest);
  for (let round = -WARM_UP_ROUNDS; round < moves; round++) {
    // Who goes first changes with the round: whatever the first leaves behind meets both as often.
    for (const { way, guest, moves: seen } of round % 2 === 0 ? both : [...both].reverse()) {
      await sleep(PAUSE_MS);
      const move = await moveOnce({ way, guest, source, target });
      if (round >= 0) seen.push(move);
    }
    const last = both.map(({ moves: seen }) => `${(seen.at(-1)?.timeMs ?? 0).toFixed(0)} ms`);
    if (round >= 0) say(`${subject.name} ${round + 1}/${moves}: Lockstep ${last[0] ?? ''}, virsh ${last[1] ?? ''}`);
    [source, target] = [target, source];
  }
  for (const { guest } of both) unbroken(lab, guest);
  for (const { way, guest } of both) await way.end(guest, source.host);
  return resultOf(subject, contestants, mesh);
}

async function guestOf(lab: Lab, { name, kind, memoryMib, bandwidthMibPerSecond }: Subject, way: WayName): Promise<GuestToMove> {
  await ensureImage(lab, kind);
  const ownName = `${name}-${way}`;
  return { name: ownName, xml: guestXml(lab, { ...kind, name: ownName, memoryMib }), bandwidthMibPerSecond };
}

async function filled(lab: Lab, { ticksUntilFilled }: Subject, { name }: GuestToMove): Promise<void> {
  await until(`${name} has filled its memory`, FILLED_LIMIT_MS, () => {
    const { last } = continuityOf(lab, name);
    return Promise.resolve(last >= ticksUntilFilled ? undefined : `at ${last} of ${ticksUntilFilled} ticks`);
  });
}

/** A benchmark of moves that lose memory would measure nothing. */
function unbroken(lab: Lab, { name }: GuestToMove): void {
  const continuity = continuityOf(lab, name);
  if (!continuity.ok) throw new Error(`${name} did not survive its moves: ${continuity.message}`);
}

async function moveOnce(input: { way: Way; guest: GuestToMove; source: Watcher; target: Watcher }): Promise<Move> {
  const { way, guest, source, target } = input;
  const domain = await source.connection.domains.lookupByName(guest.name);
  return await observeMove({ source, target, domain }, () => way.move(guest, source.host, target.host));
}

function resultOf(subject: Subject, contestants: Contestants, mesh: Mesh): { tables: Table[]; goals: Goal[] } {
  const valuesOf = (way: WayName, field: keyof Move) => contestants[way].moves.map((move) => move[field]);
  const compare = (what: string, field: keyof Move): Row =>
    row(what, { lockstep: valuesOf('lockstep', field), virsh: valuesOf('virsh', field) }, 'lockstep / virsh');
  const time = compare('time: Begin to RESUMED', 'timeMs');
  const downtime = compare("downtime: libvirt's own figure", 'downtimeMs');
  const gap = row("gap: source's word heard to Commit sent", { lockstep: mesh.figures.slice(WARM_UP_ROUNDS).map(({ gapMs }) => gapMs) }, 'lockstep / virsh');
  const before = compare('before Begin (virsh: its start-up)', 'beforeBeginMs');
  const transfer = compare("  target's QEMU there to standstill", 'transferMs');
  const heads = { lockstepName: 'Lockstep', ratioName: 'Lockstep / virsh' };
  const tables: Table[] = [
    { title: subject.title, ...heads, rows: [time, downtime, gap, before] },
    {
      title: `${subject.title}: where the time goes`,
      ...heads,
      rows: [
        compare("  Begin to target's QEMU there", 'untilStartedMs'),
        transfer,
        compare('  standstill to RESUMED', 'standstillMs'),
        compare('whole command, with the old copy gone', 'wholeMs'),
        ...stepRows(mesh),
      ],
    },
  ];
  const atMost = (what: string, value: number | undefined, limit: number, unit: string): Goal => ({
    what: `${subject.name} guest: ${what}`,
    want: `at most ${limit}${unit}`,
    got: value === undefined ? 'not measured' : `${value.toFixed(2)}${unit}`,
    met: value !== undefined && value <= limit,
  });
  const goals = [
    atMost('time', time.ratio, GOALS.ratio, ' times virsh'),
    atMost('downtime', downtime.ratio, GOALS.ratio, ' times virsh'),
    atMost('gap', gap.lockstep?.median, GOALS.gapMs, ' ms'),
    atMost('before Begin', before.lockstep?.median, GOALS.beforeBeginMs, ' ms'),
  ];
  if (subject.isLong) goals.push(longEnough(subject, transfer));
  return { tables, goals };
}

/** Otherwise the comparison would be one of beginnings and ends. */
function longEnough({ name }: Subject, { virsh }: Row): Goal {
  const gotMs = virsh?.median ?? 0;
  return {
    what: `${name} guest: its transfer by virsh is long enough to compare`,
    want: `at least ${GOALS.transferMs} ms`,
    got: `${gotMs.toFixed(0)} ms`,
    met: gotMs >= GOALS.transferMs,
  };
}

/** What the Scheduler saw of each step, which virsh does not tell. */
function stepRows({ figures }: Mesh): Row[] {
  const counted = figures.slice(WARM_UP_ROUNDS);
  const [first] = counted;
  return (first?.steps ?? []).map(({ step }, index) => {
    const lockstep = counted.flatMap(({ steps }) => steps[index]?.ms ?? []);
    return row(`step ${step}, as the Scheduler saw it`, { lockstep }, 'lockstep / virsh');
  });
}
