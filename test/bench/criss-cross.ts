// SPDX-License-Identifier: Apache-2.0
// Twenty guests that change places over three hosts, all at once; and how soon moves go on after the leader's death.
import { connect as connectMesh, LeaderRole, MigrationMode, MigrationState, type Lockstep, type Migration } from '@lockstep/sdk';
import {
  awaitPart,
  continuityOf,
  ensureImage,
  guestXml,
  hostNamed,
  killPart,
  partNamed,
  serversOf,
  startPart,
  until,
  type HostLayout,
  type Lab,
} from '#lab';
import { inOwnLab, type Say } from './own-lab.js';
import { loadNow, machineConditions, row, type Report } from './report.js';
import { percentile } from './statistics.js';
import { Mesh, Virsh, type GuestToMove, type Way } from './ways.js';

const READY_LIMIT_MS = 120_000;
const TAKEOVER_LIMIT_MS = 120_000;
const KIND = { kind: 'counter' } as const;
const GAP_GOAL_MS = 10;

interface Placed {
  guest: GuestToMove;
  at: number;
}

interface Bench {
  lab: Lab;
  lockstep: Lockstep;
  say: Say;
  count: number;
}

/** @param rounds - how often everything moves on by one host, by each way */
export async function benchCrissCross({ count, rounds, say }: { count: number; rounds: number; say: Say }): Promise<Report> {
  return await inOwnLab({ withServices: true, say }, async (lab) => {
    const lockstep = connectMesh({ servers: serversOf(lab) });
    const bench = { lab, lockstep, say, count };
    try {
      await allReady(bench);
      const loadBefore = loadNow();
      const ours = await meshRounds(bench, rounds);
      const theirs = await virshRounds(bench, rounds);
      const gapP99 = percentile(ours.gapsMs, 0.99);
      return {
        benchmark: 'migration criss-cross',
        conditions: {
          ...machineConditions(),
          'load before / after': `${loadBefore} / ${loadNow()}`,
          method:
            `${count} idle guests of 16 MiB over ${lab.hosts.length} hosts; in each of ${rounds} rounds all move on by one ` +
            'host. Lockstep is asked for all at once and keeps its own bounds per node; virsh migrate runs in a shell loop',
          'virsh': 'migrate --live --persistent --undefinesource --auto-converge, one after another',
        },
        tables: [
          {
            title: `${count} migrations criss-cross`,
            lockstepName: 'Lockstep',
            ratioName: 'virsh / Lockstep',
            rows: [
              row('one round, until all have arrived', { lockstep: ours.roundsMs, virsh: theirs }, 'virsh / lockstep'),
              row('gap', { lockstep: ours.gapsMs }, 'virsh / lockstep'),
              row('gap, 50th percentile', { lockstep: [percentile(ours.gapsMs, 0.5)] }, 'virsh / lockstep'),
              row('gap, 99th percentile', { lockstep: [gapP99] }, 'virsh / lockstep'),
              row("leader's death to a migration going on", { lockstep: ours.takeoversMs }, 'virsh / lockstep'),
            ],
          },
        ],
        goals: [
          {
            what: 'gap of moves that run at once, 99th percentile',
            want: `at most ${GAP_GOAL_MS} ms`,
            got: `${gapP99.toFixed(2)} ms`,
            met: gapP99 <= GAP_GOAL_MS,
          },
        ],
      };
    } finally {
      lockstep.close();
    }
  });
}

async function allReady({ lockstep, lab, say }: Bench): Promise<void> {
  await until('all nodes are ready', READY_LIMIT_MS, async () => {
    const nodes = await lockstep.scheduler.listNodes({}).then((answer) => answer.nodes, () => []);
    const ready = nodes.filter((node) => node.ready).length;
    return ready === lab.hosts.length ? undefined : `${ready} of ${lab.hosts.length} are ready`;
  });
  say('all nodes are ready');
}

async function begin({ lab, count }: Bench, way: Way, prefix: string): Promise<Placed[]> {
  await ensureImage(lab, KIND);
  const placed: Placed[] = [];
  for (let number = 0; number < count; number++) {
    const name = `${prefix}-${number}`;
    const guest = { name, xml: guestXml(lab, { ...KIND, name }), bandwidthMibPerSecond: undefined };
    const at = number % lab.hosts.length;
    await way.begin(guest, hostAt(lab, at));
    placed.push({ guest, at });
  }
  return placed;
}

async function end({ lab }: Bench, way: Way, placed: readonly Placed[]): Promise<void> {
  for (const { guest } of placed) {
    const continuity = continuityOf(lab, guest.name);
    if (!continuity.ok) throw new Error(`${guest.name} did not survive its moves: ${continuity.message}`);
  }
  for (const { guest, at } of placed) await way.end(guest, hostAt(lab, at));
}

function hostAt({ hosts }: Lab, number: number): HostLayout {
  const host = hosts[number % hosts.length];
  if (host === undefined) throw new Error('the lab has no hosts');
  return host;
}

async function meshRounds(bench: Bench, rounds: number): Promise<{ roundsMs: number[]; gapsMs: number[]; takeoversMs: number[] }> {
  const { lab, lockstep, say } = bench;
  const mesh = new Mesh(lockstep);
  const placed = await begin(bench, mesh, 'mesh');
  const roundsMs: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const startMs = performance.now();
    await Promise.all(
      placed.map(async (each) => {
        await mesh.move(each.guest, hostAt(lab, each.at), hostAt(lab, each.at + 1));
        each.at += 1;
      }),
    );
    roundsMs.push(performance.now() - startMs);
    say(`Lockstep, round ${round + 1}/${rounds}: ${(roundsMs.at(-1) ?? 0).toFixed(0)} ms`);
  }
  const gapsMs = mesh.figures.map(({ gapMs }) => gapMs);
  const takeoversMs = [await takeover(bench, placed)];
  say(`a migration went on ${((takeoversMs[0] ?? 0) / 1000).toFixed(1)} s after the leader's death`);
  await end(bench, mesh, placed);
  return { roundsMs, gapsMs, takeoversMs };
}

/** Kills the leader while all moves are asked for; the time until the next one changes a migration's state. */
async function takeover({ lab, lockstep }: Bench, placed: Placed[]): Promise<number> {
  const { cluster } = await lockstep.scheduler.getCluster({});
  const leader = cluster?.leaders.find(({ role }) => role === LeaderRole.SCHEDULER)?.name ?? '';
  const ids = await Promise.all(
    placed.map(async ({ guest, at }) => {
      const target = hostAt(lab, at + 1).name;
      const { migration } = await lockstep.scheduler.createMigration({ vm: guest.name, targetNode: target, mode: MigrationMode.LIVE_ONLY });
      return migration?.id ?? '';
    }),
  );
  const before = await statesOf(lockstep);
  await killPart(hostNamed(lab, leader), 'scheduler');
  const diedMs = performance.now();
  await until('a migration goes on', TAKEOVER_LIMIT_MS, async () => {
    const now = await statesOf(lockstep).catch(() => undefined);
    if (now === undefined) return 'nobody answers';
    return ids.some((id) => now.get(id) !== before.get(id) && before.get(id) !== undefined) ? undefined : 'none has changed';
  });
  const tookMs = performance.now() - diedMs;
  await startPart(lab, hostNamed(lab, leader), partNamed('scheduler'));
  await awaitPart(lab, hostNamed(lab, leader), partNamed('scheduler'));
  for (const [index, id] of ids.entries()) {
    const { state } = await lockstep.waitForMigration(id);
    const each = placed[index];
    if (state === MigrationState.SUCCEEDED && each !== undefined) each.at += 1;
  }
  return tookMs;
}

async function statesOf({ scheduler }: Lockstep): Promise<Map<string, Migration['state']>> {
  const { migrations } = await scheduler.listMigrations({});
  return new Map(migrations.map(({ id, state }) => [id, state]));
}

async function virshRounds(bench: Bench, rounds: number): Promise<number[]> {
  const { lab, say } = bench;
  const virsh = new Virsh();
  const placed = await begin(bench, virsh, 'virsh');
  const roundsMs: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const startMs = performance.now();
    for (const each of placed) {
      await virsh.move(each.guest, hostAt(lab, each.at), hostAt(lab, each.at + 1));
      each.at += 1;
    }
    roundsMs.push(performance.now() - startMs);
    say(`virsh, round ${round + 1}/${rounds}: ${(roundsMs.at(-1) ?? 0).toFixed(0)} ms`);
  }
  await end(bench, virsh, placed);
  return roundsMs;
}
