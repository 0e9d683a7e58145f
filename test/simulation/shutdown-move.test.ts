// SPDX-License-Identifier: Apache-2.0
import { Migration, MigrationMode, MigrationState } from '@lockstep/sdk/v1';
import { describe, expect, it } from 'vitest';
import type { Hypervisor } from '@lockstep/services/platform/hypervisor/hypervisor.js';
import { Cluster, DESK } from './world/cluster.js';
import { Life } from './world/life.js';
import type { Process } from './world/machine.js';
import { planOf } from './world/plan.js';
import { RestChecker } from './world/rest.js';

// A move by shutdown whose processes die at every point of it, with the services' own code under a virtual clock.

const AWAY_MS = 20_000;
const REST_LIMIT_MS = 600_000;
const VM = '5b1f3c1e-0000-4000-8000-00000000000a';

interface Scene {
  cluster: Cluster;
  reached: string[];
  /** Asks for the move, lets everything come to rest but for what is named, and tells how the move ended. */
  moved: (but?: readonly string[]) => Promise<Migration>;
}

/** Long enough that a host that is gone is noticed meanwhile. */
const SLOW =
  `<metadata><lockstep:vm xmlns:lockstep='https://lockstep.dev/xmlns/domain/1'>` +
  `<lockstep:simulated shutdown-ms='12000'/></lockstep:vm></metadata>`;

const domainXml = `<domain type='kvm'><name>cold</name><uuid>${VM}</uuid><memory unit='GiB'>1</memory><vcpu>1</vcpu>${SLOW}</domain>`;

/** Two hosts, two Schedulers, and a guest that runs on n1. */
async function scene(strike: (process: Process, point: string, cluster: Cluster) => void): Promise<Scene> {
  const cluster = new Cluster(planOf(1, { nodes: 2, schedulers: 2, faults: [] }));
  const { clock, rpc } = cluster;
  const api = rpc.peers(new Life('desk', DESK, clock, { rate: 1, wallSkewMs: () => 0 })).scheduler('c1:7700');
  const until = async <T>(call: Promise<T>): Promise<T> => {
    const state = { over: false };
    const watched = call.finally(() => (state.over = true));
    watched.catch(() => undefined);
    for (let passed = 0; !state.over && passed < 60_000; passed += 100) await clock.advance(100);
    return await watched;
  };
  cluster.start();
  await clock.advance(10_000);
  await until(api.defineVm({ node: 'n1', start: true, spec: { domainXml, shutdownLimit: { seconds: 20n, nanos: 0 } } }));
  await clock.advance(10_000);
  expect(cluster.guests.runningOn(VM)).toEqual(['n1']);
  const reached: string[] = [];
  cluster.onPoint = (process, _life, point) => {
    reached.push(point);
    strike(process, point, cluster);
  };
  return {
    cluster,
    reached,
    moved: async (but = []) => {
      const { migration } = await until(api.createMigration({ vm: VM, targetNode: 'n2', mode: MigrationMode.SHUTDOWN }));
      const rest = new RestChecker(cluster);
      let unrest = ['not looked yet'];
      for (let passed = 0; unrest.join() !== but.join() && passed < REST_LIMIT_MS; passed += 2_000) {
        await clock.advance(2_000);
        unrest = cluster.agents.every(({ powered }) => powered) ? await until(rest.unrest()) : ['a host is off'];
      }
      expect(unrest).toEqual(but);
      expect(cluster.violations.first).toBeUndefined();
      return Migration.create(cluster.records.migrations.get(migration?.id ?? ''));
    },
  };
}

/** Kills whoever comes to the point first, and starts it again later. */
function killAt(wanted: string): (process: Process, point: string, cluster: Cluster) => void {
  let done = false;
  return (process, point, { clock }) => {
    if (done || point !== wanted) return;
    done = true;
    process.end('killed');
    clock.after(AWAY_MS, () => {
      process.start();
    });
  };
}

const POINTS = [
  'scheduler/journal/shutting-down',
  'agent/reconcile/ask-shutdown',
  'agent/give-up/floored',
  'agent/give-up/destroyed',
  'scheduler/step/stop-source',
  'scheduler/journal/starting',
  'agent/apply/noted',
  'agent/reconcile/define',
  'agent/reconcile/start',
  'scheduler/step/start-target',
];

describe('a move by shutdown', () => {
  it('passes every point that these tests strike at, in this order', async () => {
    const { reached, moved } = await scene(() => undefined);
    expect((await moved()).state).toBe(MigrationState.SUCCEEDED);
    expect(POINTS.map((point) => reached.indexOf(point))).not.toContain(-1);
    const first = [...new Set(reached)].filter((point) => POINTS.includes(point));
    expect(first).toEqual(POINTS);
  });

  it.each(POINTS)('arrives although whoever came to %s died there', async (point) => {
    const { cluster, reached, moved } = await scene(killAt(point));
    const ended = await moved();
    expect(reached).toContain(point);
    expect(ended).toMatchObject({ state: MigrationState.SUCCEEDED, modeUsed: MigrationMode.SHUTDOWN });
    expect(cluster.guests.runningOn(VM)).toEqual(['n2']);
  });

  it('goes back to its source when its target goes away before it was told anything', async () => {
    const { cluster, moved } = await scene((_process, point, { agents }) => {
      if (point === 'scheduler/journal/shutting-down') agents[1]?.losePower();
      if (point === 'scheduler/journal/starting') bootLater(cluster);
    });
    const ended = await moved();
    expect(ended).toMatchObject({ state: MigrationState.FAILED, reason: 'NODE_NOT_READY' });
    expect(ended.detail).toContain('runs on n1 again');
    expect(cluster.guests.runningOn(VM)).toEqual(['n1']);
  });

  it('leaves a guest alone that is not the cluster\'s any more', async () => {
    const { cluster, moved } = await scene((_process, point, { agents }) => {
      if (point === 'scheduler/journal/shutting-down') void byHandAnew(agents[0]?.host.hypervisor());
    });
    const ended = await moved(['cold on n1 has epoch undefined, its record 1']);
    expect(ended).toMatchObject({ state: MigrationState.FAILED, reason: 'DOMAIN_NOT_OURS' });
    expect(ended.detail).toContain('it stays on n1 as it is');
    expect(cluster.guests.runningOn(VM)).toEqual(['n1']);
  });

  it('waits for a target that went away once it may have been told, and says so meanwhile', async () => {
    let waited: string | undefined;
    const { cluster, moved } = await scene((_process, point, { agents, clock, records }) => {
      if (point !== 'scheduler/journal/starting') return;
      agents[1]?.losePower();
      clock.after(AWAY_MS, () => {
        waited = records.open()[0]?.waitingReason;
      });
      bootLater(cluster);
    });
    expect((await moved()).state).toBe(MigrationState.SUCCEEDED);
    expect(waited).not.toBe('');
    expect(waited).toBeDefined();
    expect(cluster.guests.runningOn(VM)).toEqual(['n2']);
  });
});

/** Somebody defines the VM's domain anew, without a placement epoch, and starts it. */
async function byHandAnew(hypervisor: Hypervisor | undefined): Promise<void> {
  const limit = { deadlineMs: 1_000 };
  await hypervisor?.destroy(VM, limit);
  await hypervisor?.undefine(VM, limit);
  await hypervisor?.define(domainXml, limit);
  await hypervisor?.start(VM, limit);
}

function bootLater({ agents, clock }: Cluster): void {
  clock.after(2 * AWAY_MS, () => {
    agents[1]?.gainPower();
    agents[1]?.start();
  });
}
