// SPDX-License-Identifier: Apache-2.0
import { hostNamed, until, useOneNetwork, type BmcMode, type HostLayout } from '#lab';
import { blank, observeDeath, type Outcome } from '../lab/fence-matrix/cell.js';
import { chooseVictim, comeBack, healthy, leadersOf, mend, prepareMode, removeGuest, restart, rolesOn, startGuest, type Guest } from '../lab/fence-matrix/stage.js';
import { Cluster } from '../lab/kill-matrix/cluster.js';
import { inOwnLab, type Say } from './own-lab.js';
import { loadNow, machineConditions, row, type Goal, type Report, type Row } from './report.js';

const STEADY_LIMIT_MS = 300_000;

/** How a host is killed, and what is known of it by then. */
interface Setting {
  title: string;
  mode: BmcMode;
  oneNetwork: boolean;
  /** The host of the leading Fencer is killed; otherwise the one that leads least. */
  leaders: boolean;
  /** From the kill to the first count elsewhere, at the median. */
  goalMs: number;
}

const SETTINGS: readonly Setting[] = [
  { title: 'peers agree over two networks, leaders elsewhere', mode: 'up', oneNetwork: false, leaders: false, goalMs: 15_000 },
  { title: 'the power reads off, leaders elsewhere', mode: 'already-off', oneNetwork: false, leaders: false, goalMs: 8_000 },
  { title: "the leaders' host is killed, two networks", mode: 'up', oneNetwork: false, leaders: true, goalMs: 35_000 },
  { title: 'silence alone, one network, leaders elsewhere', mode: 'up', oneNetwork: true, leaders: false, goalMs: 45_000 },
];

interface Kill extends Outcome {
  proofMs: number;
  startMs: number;
}

/** Kills host after host under a counting guest, and measures until the journal has its proof and the guest counts again. */
export async function benchFailover({ kills, only, say }: { kills: number; only: readonly string[]; say: Say }): Promise<Report> {
  const settings = SETTINGS.filter(({ title }) => only.length === 0 || only.some((text) => title.includes(text)));
  return await inOwnLab({ withServices: true, say }, async (lab) => {
    const cluster = new Cluster(lab);
    try {
      const loadBefore = loadNow();
      const rows: Row[] = [];
      const goals: Goal[] = [];
      for (const [index, setting] of settings.entries()) {
        const share = Math.floor((kills + settings.length - 1 - index) / settings.length);
        if (share === 0) continue;
        const seen = await killAll(cluster, setting, share, say);
        rows.push(
          row(`${setting.title}: proof (${String(seen.length)} kills)`, { lockstep: seen.map(({ proofMs }) => proofMs) }, 'lockstep / virsh'),
          row('  first count elsewhere', { lockstep: seen.map(({ startMs }) => startMs) }, 'lockstep / virsh'),
        );
        goals.push(goalOf(setting, seen));
      }
      return {
        benchmark: 'failover',
        conditions: {
          ...machineConditions(),
          'load before / after': `${loadBefore} / ${loadNow()}`,
          method:
            'every process of the host dies at once (or its power is cut); from that moment to CONFIRMED in the journal of the fence action, ' +
            'and to the first byte the guest prints on another host; 6 throws of 5 s, session TTL 15 s, probes every second',
        },
        tables: [{ title: 'from the kill of a host', lockstepName: 'Lockstep', ratioName: '', rows }],
        goals,
      };
    } finally {
      cluster.close();
    }
  });
}

async function killAll(cluster: Cluster, setting: Setting, share: number, say: Say): Promise<Kill[]> {
  const { lab } = cluster;
  useOneNetwork(lab, setting.oneNetwork);
  if (setting.oneNetwork) for (const host of lab.hosts) await restart(cluster, host, 'node-agent');
  const seen: Kill[] = [];
  for (let round = 0; round < share; round++) {
    const kill = await killOnce(cluster, setting);
    const led = kill.leads.length === 0 ? 'nothing' : kill.leads.join(', ');
    const figures = `proof ${kill.proofMs.toFixed(0)} ms, first count ${kill.startMs.toFixed(0)} ms`;
    say(`${setting.title} ${String(round + 1)}/${String(share)}: ${figures} (led there: ${led}; load ${loadNow()})`);
    seen.push(kill);
  }
  return seen;
}

async function killOnce(cluster: Cluster, setting: Setting): Promise<Kill> {
  await healthy(cluster);
  await steady(cluster);
  const { victim, leads } = await victimOf(cluster, setting);
  const guest: Guest = await startGuest(cluster, victim);
  await prepareMode(cluster, victim, setting.mode);
  const outcome = { ...blank(), leads };
  await observeDeath(cluster, { mode: setting.mode, death: 'crash' }, victim, guest, outcome);
  const { proofMs, startMs, problems } = outcome;
  if (problems.length > 0 || proofMs === undefined || startMs === undefined) {
    throw new Error(`${setting.title}: ${problems.join('; ')} (${outcome.state}: ${outcome.detail})`);
  }
  await mend(cluster, victim, guest);
  await removeGuest(cluster, guest);
  await comeBack(cluster, victim);
  return { ...outcome, proofMs, startMs };
}

async function victimOf(cluster: Cluster, { leaders }: Setting): Promise<{ victim: HostLayout; leads: string[] }> {
  if (!leaders) return await chooseVictim(cluster);
  const leading = await leadersOf(cluster);
  const { fencer = '' } = leading;
  return { victim: hostNamed(cluster.lab, fencer), leads: rolesOn(leading, fencer) };
}

/** Agreement counts only of nodes that have been ready for a minute. */
async function steady({ api }: Cluster): Promise<void> {
  await until('every node has been ready for a minute', STEADY_LIMIT_MS, async () => {
    try {
      const { nodes } = await api.scheduler.listNodes({});
      const other = nodes.find((node) => !node.steady);
      return other === undefined ? undefined : `${other.name} has not`;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  });
}

function goalOf({ title, goalMs }: Setting, seen: readonly Kill[]): Goal {
  const median = row('', { lockstep: seen.map(({ startMs }) => startMs) }, 'lockstep / virsh').lockstep?.median ?? Infinity;
  const seconds = (ms: number): string => `${(ms / 1_000).toFixed(1)} s`;
  return { what: title, want: `at most ${seconds(goalMs)} (median)`, got: seconds(median), met: median <= goalMs };
}
