// SPDX-License-Identifier: Apache-2.0
import { EventSeverity, MigrationState, type Event, type Migration, type SchedulerServiceClient } from '@lockstep/sdk/v1';
import type { PeerCall } from '@lockstep/services/platform/rpc/peers.js';
import { describe, expect, it } from 'vitest';
import { Desk } from './world/desk.js';

// Watches that go on at the next leader, and the history that both leaders write, under a virtual clock.

type Api = SchedulerServiceClient<PeerCall>;

interface Follower<M> {
  messages: M[];
  /** Why the last stream ended. */
  ended: unknown;
  over: boolean;
}

/** Follows one stream until it breaks. */
function follow<M>(stream: AsyncIterable<M>): Follower<M> {
  const follower: Follower<M> = { messages: [], ended: undefined, over: false };
  void (async () => {
    try {
      for await (const message of stream) follower.messages.push(message);
    } catch (error) {
      follower.ended = error;
    } finally {
      follower.over = true;
    }
  })();
  return follower;
}

function lastToken(messages: readonly { resumeToken: string }[]): string {
  return messages.at(-1)?.resumeToken ?? '';
}

/** The first stream of any replica that says something. */
async function attach<M>(desk: Desk, open: (api: Api) => AsyncIterable<M>): Promise<Follower<M>> {
  for (let tries = 0; tries < 100; tries += 1) {
    const follower = follow(open(desk.anyone()));
    await desk.see('a message or an end', () => follower.messages.length > 0 || follower.over);
    if (follower.messages.length > 0) return follower;
    const { reason } = follower.ended as { reason?: string };
    if (reason === 'RESUME_TOKEN_EXPIRED') throw follower.ended as Error;
    await desk.pass(500);
  }
  throw new Error('nobody lets us watch');
}

let asked = 0;

async function move(desk: Desk, vm: string, targetNode: string): Promise<string> {
  const requestId = `move-${String((asked += 1))}`;
  const { migration } = await desk.ask((api) => api.createMigration({ vm, targetNode, requestId }));
  if (migration === undefined) throw new Error('no migration in the answer');
  await desk.see(`the end of ${migration.id}`, () => desk.migration(migration.id)?.endTime !== undefined, 600_000);
  return migration.id;
}

describe('a watch that resumes with its token after a leader was killed', () => {
  it('is told of the migrations that ended while it was away, and of nothing that it knew', async () => {
    const desk = new Desk();
    await desk.open();
    const [one, two, three] = [await desk.running('one', 'n1'), await desk.running('two', 'n1'), await desk.running('three', 'n2')];
    const known = await move(desk, one, 'n2');
    await desk.pass(2_000);
    const before = await attach(desk, (api) => api.watchMigrations({}));
    expect(before.messages[0]?.snapshot).toBe(true);
    await desk.killLeader();
    const missed = [await move(desk, two, 'n3'), await move(desk, three, 'n1')];
    const after = await attach(desk, (api) => api.watchMigrations({ resumeToken: lastToken(before.messages) }));
    const [first] = after.messages;
    expect(first?.snapshot).toBe(false);
    const ended = (first?.changed ?? []).filter(({ state }) => state === MigrationState.SUCCEEDED).map(({ id }) => id);
    expect(ended.sort()).toEqual([...missed].sort());
    expect(ended).not.toContain(known);
  });

  it('is told which VMs were forgotten while it was away', async () => {
    const desk = new Desk();
    await desk.open();
    await desk.running('stays', 'n1');
    const goes = await desk.running('goes', 'n1');
    await desk.pass(2_000);
    const before = await attach(desk, (api) => api.watchVms({}));
    expect(before.messages[0]?.changed.map(({ name }) => name)).toEqual(['goes', 'stays']);
    await desk.killLeader();
    await desk.ask((api) => api.stopVm({ vm: goes }));
    await desk.pass(20_000);
    desk.cluster.mayVanish.add(goes);
    await desk.ask((api) => api.undefineVm({ vm: goes }));
    await desk.pass(1_000);
    const after = await attach(desk, (api) => api.watchVms({ resumeToken: lastToken(before.messages) }));
    expect(after.messages[0]).toMatchObject({ snapshot: false, gone: [goes] });
    expect(after.messages[0]?.changed.map(({ name }) => name)).toEqual(['stays']);
  });

  it('of one migration ends with its end, whoever leads by then', async () => {
    const desk = new Desk();
    await desk.open();
    const vm = await desk.running('one', 'n1', { memoryMib: 2048 });
    const { migration } = await desk.ask((api) => api.createMigration({ vm, targetNode: 'n2', requestId: 'once' }));
    const id = migration?.id ?? '';
    const before = await attach(desk, (api) => api.watchMigrations({ id }));
    await desk.killLeader();
    await desk.see('its end', () => desk.migration(id)?.endTime !== undefined, 600_000);
    const after = await attach(desk, (api) => api.watchMigrations({ id, resumeToken: lastToken(before.messages) }));
    await desk.see('the end of the watch', () => after.over);
    const last: Migration | undefined = after.messages.at(-1)?.changed.at(-1);
    expect(last?.endTime).toBeDefined();
    expect(after.ended).toBeUndefined();
  });

  it('with a token that is none of the store is told to look anew', async () => {
    const desk = new Desk();
    await desk.open();
    for (const resumeToken of ['migrations.999999999', 'vms.1', 'nonsense']) {
      await expect(attach(desk, (api) => api.watchMigrations({ resumeToken }))).rejects.toMatchObject({ reason: 'RESUME_TOKEN_EXPIRED' });
    }
  });
});

describe('events', () => {
  it('are told in order, each once, over three leaders that were killed', async () => {
    const desk = new Desk();
    await desk.open();
    const vm = await desk.running('one', 'n1');
    const seen: Event[] = [];
    let token = '';
    const gather = async (): Promise<void> => {
      const follower = await attach(desk, (api) => api.watchEvents({ resumeToken: token }));
      await desk.pass(1_000);
      seen.push(...follower.messages.flatMap(({ events }) => events));
      token = lastToken(follower.messages);
    };
    await gather();
    const moves: string[] = [];
    for (const target of ['n2', 'n3', 'n1', 'n2']) {
      if (moves.length > 0) await desk.killLeader();
      moves.push(await move(desk, vm, target));
      await gather();
    }
    const ends = seen.filter(({ reason }) => reason === 'MIGRATION_SUCCEEDED');
    expect(ends.map(({ message }) => moves.findIndex((id) => message.includes(id)))).toEqual([0, 1, 2, 3]);
    expect(new Set(seen.map(({ id }) => id)).size).toBe(seen.length);
    expect(ends[0]).toMatchObject({ severity: EventSeverity.INFO, subject: `vms/${vm}`, actor: 'scheduler' });
    const { events } = await desk.ask((api) => api.listEvents({ subject: `vms/${vm}`, pageSize: 2 }));
    expect(events.map(({ id }) => id)).toEqual(ends.slice(-2).map(({ id }) => id).reverse());
  });
});
