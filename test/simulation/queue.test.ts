// SPDX-License-Identifier: Apache-2.0
import { MigrationState, VmState, type Migration } from '@lockstep/sdk/v1';
import { beforeEach, describe, expect, it } from 'vitest';
import { Desk } from './world/desk.js';

// The queue of moves over leaders that are killed, under a virtual clock.

const RING: Readonly<Record<string, string>> = { n1: 'n2', n2: 'n3', n3: 'n1' };
const NODES = Object.keys(RING);
const PRIORITIES = [0, -100, 50] as const;
const LIMITS = { perNode: 2, perCluster: 10 };

/** Notes which migrations began, in order, and where a bound was passed. */
class Observer {
  readonly began: Migration[] = [];
  readonly passed: string[] = [];
  readonly #state = new Map<string, MigrationState>();

  look(migrations: Iterable<Migration>): void {
    const open: Migration[] = [];
    for (const migration of migrations) {
      const before = this.#state.get(migration.id);
      this.#state.set(migration.id, migration.state);
      const waits = migration.state === MigrationState.PENDING;
      if ((before ?? MigrationState.PENDING) === MigrationState.PENDING && !waits && migration.sourceIncarnation > 0n) this.began.push(migration);
      if (!waits && migration.endTime === undefined) open.push(migration);
    }
    if (open.length > LIMITS.perCluster) this.passed.push(`${String(open.length)} open in the cluster`);
    for (const node of NODES) {
      const out = open.filter(({ sourceNode }) => sourceNode === node).length;
      const into = open.filter(({ targetNode }) => targetNode === node).length;
      if (Math.max(out, into) > LIMITS.perNode) this.passed.push(`${node}: ${String(out)} out, ${String(into)} in`);
    }
  }
}

let desk: Desk;

beforeEach(async () => {
  desk = new Desk();
  await desk.open();
});

describe('sixty migrations that are queued at once', () => {
  it('are each done once, by priority and within bounds, although two leaders are killed', async () => {
    const nodeOf = new Map<string, string>();
    for (let number = 0; number < 60; number += 1) {
      const node = NODES[number % 3] ?? '';
      nodeOf.set(await desk.running(`vm-${String(number)}`, node), node);
    }
    const observer = new Observer();
    const look = (): void => {
      observer.look(desk.cluster.records.migrations.values());
    };
    desk.cluster.onPoint = look;
    const asked = await Promise.all(
      [...nodeOf].map(async ([vm, node], number) => {
        const priority = PRIORITIES[Math.floor(number / 3) % 3] ?? 0;
        const request = { vm, targetNode: RING[node] ?? '', priority, requestId: `move-${String(number)}` };
        const { migration } = await desk.ask((api) => api.createMigration(request));
        if (migration === undefined) throw new Error('no migration in the answer');
        look();
        return migration;
      }),
    );
    const beforeAllWereAsked = observer.began.length;
    expect(new Set(asked.map(({ id }) => id)).size).toBe(60);
    const waiting = await desk.ask((api) => api.listMigrations({ openOnly: true }));
    const reasons = waiting.migrations.filter(({ state }) => state === MigrationState.PENDING).map(({ waitingReason }) => waitingReason);
    expect(reasons.length).toBeGreaterThan(40);
    for (const reason of reasons) expect(reason).toMatch(/^\d+ in the queue: \d+ VMs (leave|come to) n\d, which is its limit$/);

    const called = waiting.migrations.filter(({ state, priority }) => state === MigrationState.PENDING && priority === -100).slice(-3);
    for (const { id } of called) await desk.ask((api) => api.cancelMigration({ id }));
    const done = (): number => [...desk.cluster.records.migrations.values()].filter(({ endTime }) => endTime !== undefined).length;
    // A leader that dies before any memory is sent leaves a migration that its successor undoes.
    const mayBeUndone = new Set<string>();
    for (const atLeast of [10, 30]) {
      await desk.see(`${String(atLeast)} ends`, () => (look(), done() >= atLeast), 1_800_000);
      for (const { id, state, endTime } of desk.cluster.records.migrations.values()) {
        if (endTime === undefined && state !== MigrationState.PENDING) mayBeUndone.add(id);
      }
      await desk.killLeader();
    }
    expect(mayBeUndone.size).toBeLessThanOrEqual(2 * LIMITS.perCluster);
    await desk.see('all ends', () => (look(), done() === 60), 1_800_000);
    await desk.rest();

    expect(observer.passed).toEqual([]);
    const cancelled = new Set(called.map(({ id }) => id));
    expect(observer.began).toHaveLength(57);
    for (const node of NODES) {
      const order = observer.began.slice(beforeAllWereAsked).filter(({ sourceNode }) => sourceNode === node);
      expect(order.length).toBeGreaterThan(10);
      // Those that begin in the same turn may be journalled in either order: never more than a node's bound.
      const overtaken = order.map(({ priority }, place) => order.slice(place).filter((later) => later.priority > priority).length);
      expect(Math.max(...overtaken)).toBeLessThan(LIMITS.perNode);
    }
    const { migrations } = await desk.ask((api) => api.listMigrations({}));
    expect(migrations).toHaveLength(60);
    for (const { id, state, reason } of migrations) {
      const undone = state === MigrationState.ABORTED && mayBeUndone.has(id);
      const expected = undone ? 'LOST_CONTACT' : '';
      expect({ state, reason }).toEqual(
        cancelled.has(id)
          ? { state: MigrationState.ABORTED, reason: 'CANCELLED' }
          : { state: undone ? MigrationState.ABORTED : MigrationState.SUCCEEDED, reason: expected },
      );
    }
    for (const { vmId, state, sourceNode, targetNode } of migrations) {
      expect(desk.cluster.guests.runningOn(vmId)).toEqual([state === MigrationState.SUCCEEDED ? targetNode : sourceNode]);
    }
  });
});

describe('a request_id', () => {
  it('that is sent by two clients across a leader change makes one migration', async () => {
    const vm = await desk.running('one', 'n1');
    const request = { vm, targetNode: 'n2', requestId: 'both-of-us' };
    const first = desk.ask((api) => api.createMigration(request));
    const second = desk.ask((api) => api.createMigration(request));
    const killed = desk.killLeader();
    const third = desk.ask((api) => api.createMigration(request));
    const answers = await Promise.all([first, second, third, killed]);
    const ids = answers.slice(0, 3).map((answer) => (answer as { migration?: Migration }).migration?.id);
    expect(new Set(ids).size).toBe(1);
    await desk.rest();
    const again = await desk.ask((api) => api.createMigration(request));
    expect(again.migration?.id).toBe(ids[0]);
    const { migrations } = await desk.ask((api) => api.listMigrations({ vm }));
    expect(migrations.map(({ id, state }) => ({ id, state }))).toEqual([{ id: ids[0], state: MigrationState.SUCCEEDED }]);
    const { vm: now } = await desk.ask((api) => api.getVm({ vm }));
    expect(now?.status?.state).toBe(VmState.RUNNING);
    expect(desk.cluster.guests.runningOn(vm)).toEqual(['n2']);
  });
});
