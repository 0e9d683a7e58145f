// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from 'node:crypto';
import { connect, StatsGroup, type Connection } from '@lockstep/node-libvirt';
import { attemptVirsh, guestXml, virsh, type HostLayout, type Lab } from '#lab';
import { inOwnLab, type Say } from './own-lab.js';
import { formatMs, loadNow, machineConditions, row, type Goal, type Report, type Row } from './report.js';

const DEFINED_DOMAINS = 300;
/** One call of virsh and then so many of ours, in every round: ours are short, and single ones tell little. */
const OUR_CALLS_PER_ROUND = 10;
/** The compiler of the JavaScript engine has seen a function after some hundred calls; a service lives for months. */
const WARM_UP_CALLS = 300;
/** For the price of one command inside of a virsh that runs already. */
const COMMANDS_IN_ONE_VIRSH = 51;

interface Contest {
  what: string;
  virsh: readonly string[];
  ours: (connection: Connection) => Promise<unknown>;
  /** So many times faster than virsh; undefined: told for the sake of completeness. */
  goal: number | undefined;
}

const contests: readonly Contest[] = [
  { what: 'hostname', virsh: ['hostname'], ours: ({ host }) => host.hostname(), goal: 100 },
  { what: `list of ${DEFINED_DOMAINS + 1}`, virsh: ['list', '--all', '--name'], ours: ({ domains }) => domains.list(), goal: 100 },
  {
    // What virsh prints by itself: it asks for each domain's state in a call of its own.
    what: 'list with states',
    virsh: ['list', '--all'],
    ours: ({ domains }) => domains.allStats({ groups: StatsGroup.STATE }),
    goal: undefined,
  },
  { what: 'stats of all domains', virsh: ['domstats', '--nowait'], ours: ({ domains }) => domains.allStats(), goal: 3 },
];

/** The same questions to the same libvirtd: by virsh, as a program would run it, and by node-libvirt. */
export async function benchLibvirt({ rounds, say }: { rounds: number; say: Say }): Promise<Report> {
  return await inOwnLab({ withServices: false, say }, async (lab) => {
    const [host] = lab.hosts;
    if (host === undefined) throw new Error('the lab has no host');
    const connection = await connect({ socketPath: host.libvirtSocket });
    try {
      await populate(lab, host, connection, say);
      return await measureAll(host, connection, rounds, say);
    } finally {
      await connection.close();
    }
  });
}

async function populate(lab: Lab, host: HostLayout, { domains }: Connection, say: Say): Promise<void> {
  say(`defining ${DEFINED_DOMAINS} domains, and starting one more`);
  for (let index = 0; index < DEFINED_DOMAINS; index++) {
    await domains.defineXml(guestXml(lab, { kind: 'counter', name: `defined-${String(index).padStart(3, '0')}` }));
  }
  const running = await domains.defineXml(guestXml(lab, { kind: 'counter', name: 'running', uuid: randomUUID() }));
  await domains.start(running);
  const listed = (await virsh(host, ['list', '--all', '--name'])).split('\n').filter(Boolean).length;
  if (listed !== DEFINED_DOMAINS + 1) throw new Error(`virsh lists ${listed} domains`);
}

async function measureAll(host: HostLayout, connection: Connection, rounds: number, say: Say): Promise<Report> {
  const loadBefore = loadNow();
  const rows: Row[] = [];
  const inside: Row[] = [];
  const goals: Goal[] = [];
  for (const contest of contests) {
    say(`${contest.what}: ${rounds} rounds`);
    const { lockstep, virsh: theirs } = await measure(host, connection, contest, rounds);
    const measured = row(contest.what, { lockstep, virsh: theirs }, 'virsh / lockstep');
    rows.push(measured);
    if (contest.goal !== undefined) goals.push(goalOf(contest.what, contest.goal, measured));
    const perCommand = await perCommandOf(host, contest, Math.ceil(rounds / 10));
    inside.push(row(contest.what, { lockstep, virsh: perCommand }, 'virsh / lockstep'));
  }
  return {
    benchmark: 'libvirt',
    conditions: {
      ...machineConditions(),
      'load before / after': `${loadBefore} / ${loadNow()}`,
      libvirtd: `one, over its UNIX socket, with ${DEFINED_DOMAINS} defined domains and one that runs`,
      method: `${rounds} rounds; in each one virsh, then ${OUR_CALLS_PER_ROUND} calls on one open connection`,
    },
    tables: [
      { title: 'a question, asked by a program', lockstepName: 'node-libvirt', ratioName: 'times faster', rows },
      {
        title: `the same inside of one virsh with ${COMMANDS_IN_ONE_VIRSH} commands (no goal: the price of the process left out)`,
        lockstepName: 'node-libvirt',
        ratioName: 'times faster',
        rows: inside,
      },
    ],
    goals,
  };
}

async function measure(
  host: HostLayout,
  connection: Connection,
  { virsh: args, ours }: Contest,
  rounds: number,
): Promise<{ lockstep: number[]; virsh: number[] }> {
  for (let call = 0; call < WARM_UP_CALLS; call++) await ours(connection);
  const times: { lockstep: number[]; virsh: number[] } = { lockstep: [], virsh: [] };
  for (let round = 0; round < rounds; round++) {
    times.virsh.push(await timed(() => virsh(host, args)));
    for (let call = 0; call < OUR_CALLS_PER_ROUND; call++) times.lockstep.push(await timed(() => ours(connection)));
  }
  return times;
}

/** What one more command costs in a virsh that runs already: n commands less one command, by n - 1. */
async function perCommandOf(host: HostLayout, { virsh: args }: Contest, rounds: number): Promise<number[]> {
  const command = args.join(' ');
  const many = Array.from({ length: COMMANDS_IN_ONE_VIRSH }, () => command).join('; ');
  const times: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const oneMs = await timed(() => attemptVirsh(host, [command]));
    const manyMs = await timed(() => virsh(host, [many], 120_000));
    times.push(Math.max(0, manyMs - oneMs) / (COMMANDS_IN_ONE_VIRSH - 1));
  }
  return times;
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const startMs = performance.now();
  await work();
  return performance.now() - startMs;
}

function goalOf(what: string, goal: number, { ratio = 0, lockstep, virsh: theirs }: Row): Goal {
  const medians = `${formatMs(lockstep?.median ?? 0)} ms against ${formatMs(theirs?.median ?? 0)} ms`;
  return { what, want: `${goal} times faster than virsh`, got: `${ratio.toFixed(1)} times (${medians})`, met: ratio >= goal };
}
