// SPDX-License-Identifier: Apache-2.0
import { CompletionMethod, MigrationMode, MigrationState, MigrationStep, type Migration } from '@lockstep/sdk/v1';
import { milliseconds } from '@lockstep/services/core/duration.js';
import { describe, expect, it } from 'vitest';
import { Desk } from './world/desk.js';
import type { Plan } from './world/plan.js';

// Guests that write faster than their link sends, with the services' own code under a virtual clock.

const LINK = 100 * 2 ** 20;
/** Twice as fast as the link, over more than the pause budget can ever send. */
const RESTLESS = 'dirty-rate="200MiB" working-set="512MiB" resident="1GiB"';
const DEADLINE_S = 90;
const NOT_SLOWED = { autoConverge: false, bandwidthBytesPerSecond: 0n };

async function deskWith(spec: object, plan: Partial<Plan> = {}): Promise<{ desk: Desk; vm: string }> {
  const desk = new Desk({ linkBytesPerSecond: LINK, ...plan });
  await desk.open();
  const vm = await desk.running('restless', 'n1', { memoryMib: 2048, simulated: RESTLESS, migrationLimits: NOT_SLOWED, ...spec });
  return { desk, vm };
}

async function move(desk: Desk, vm: string, mode: MigrationMode): Promise<string> {
  const transferDeadline = { seconds: BigInt(DEADLINE_S), nanos: 0 };
  const { migration } = await desk.ask((api) => api.createMigration({ vm, targetNode: 'n2', mode, transferDeadline, requestId: 'move' }));
  return migration?.id ?? '';
}

async function end(desk: Desk, id: string): Promise<Migration> {
  await desk.see('its end', () => desk.migration(id)?.endTime !== undefined, 600_000);
  await desk.rest();
  const ended = desk.migration(id);
  if (ended === undefined) throw new Error('its record is gone');
  return ended;
}

/** How long the record says that memory was sent, in milliseconds. */
async function sending(desk: Desk, id: string, atLeastBytes: bigint): Promise<void> {
  for (let tries = 0; tries < 500; tries += 1) {
    const { migration } = await desk.ask((api) => api.getMigration({ id }));
    if ((migration?.progress?.memorySentBytes ?? 0n) >= atLeastBytes) return;
    await desk.pass(500);
  }
  throw new Error('nothing is sent');
}

function losePowerForAWhile({ cluster }: Desk, number: number): void {
  const agent = cluster.agents[number];
  agent?.losePower();
  cluster.clock.after(20_000, () => {
    agent?.gainPower();
    agent?.start();
  });
}

describe('a guest that never converges', () => {
  it('is ended within its deadline with its figures, and runs on at its source', async () => {
    const { desk, vm } = await deskWith({});
    const id = await move(desk, vm, MigrationMode.LIVE_ONLY);
    const beganMs = desk.cluster.clock.nowMs();
    const ended = await end(desk, id);
    expect(ended).toMatchObject({ state: MigrationState.ABORTED, reason: 'NOT_CONVERGED' });
    expect(ended.detail).toMatch(/dirties 0\.2 GiB\/s over a 100\.0 MiB\/s link|dirties 0\.2 GiB\/s over a 0\.1 GiB\/s link/);
    expect((ended.endTime?.getTime() ?? 0) - (ended.createTime?.getTime() ?? 0)).toBeLessThan((DEADLINE_S + 15) * 1000);
    expect(desk.cluster.clock.nowMs()).toBeGreaterThan(beganMs);
    expect(desk.cluster.guests.runningOn(vm)).toEqual(['n1']);
  });

  it('moves by shutdown where that is allowed', async () => {
    const { desk, vm } = await deskWith({});
    const ended = await end(desk, await move(desk, vm, MigrationMode.LIVE_OR_SHUTDOWN));
    expect(ended).toMatchObject({ state: MigrationState.SUCCEEDED, modeUsed: MigrationMode.SHUTDOWN });
    expect(desk.cluster.guests.runningOn(vm)).toEqual(['n2']);
    const { events } = await desk.ask((api) => api.listEvents({ subject: `vms/${vm}` }));
    expect(events.map(({ reason }) => reason)).toContain('MIGRATION_FELL_BACK');
  });

  it('arrives by post-copy where that is allowed', async () => {
    const { desk, vm } = await deskWith({ allowPostCopy: true });
    const ended = await end(desk, await move(desk, vm, MigrationMode.LIVE_ONLY));
    expect(ended).toMatchObject({ state: MigrationState.SUCCEEDED, postCopy: true });
    expect(desk.cluster.guests.runningOn(vm)).toEqual(['n2']);
  });

  it('arrives where the hypervisor may slow it down', async () => {
    const { desk, vm } = await deskWith({ migrationLimits: { autoConverge: true } });
    const ended = await end(desk, await move(desk, vm, MigrationMode.LIVE_ONLY));
    expect(ended).toMatchObject({ state: MigrationState.SUCCEEDED, postCopy: false });
    expect(ended.forecast?.converges).toBe(true);
  });

  it('arrives when a person has it paused for the rest', async () => {
    const { desk, vm } = await deskWith({});
    const id = await move(desk, vm, MigrationMode.LIVE_ONLY);
    await sending(desk, id, 2n ** 30n);
    const refused = desk.ask((api) => api.completeMigration({ id, method: CompletionMethod.POST_COPY }));
    await expect(refused).rejects.toMatchObject({ reason: 'POST_COPY_NOT_ALLOWED' });
    await desk.ask((api) => api.completeMigration({ id, method: CompletionMethod.PAUSE }));
    const ended = await end(desk, id);
    expect(ended.state).toBe(MigrationState.SUCCEEDED);
    expect(desk.cluster.guests.runningOn(vm)).toEqual(['n2']);
    await expect(desk.ask((api) => api.completeMigration({ id, method: CompletionMethod.PAUSE }))).rejects.toMatchObject({ reason: 'MIGRATION_ENDED' });
  });

  it('arrives by post-copy when a person asks for it, and cannot be called off any more', async () => {
    const { desk, vm } = await deskWith({ allowPostCopy: true });
    const id = await move(desk, vm, MigrationMode.LIVE_ONLY);
    await sending(desk, id, 2n ** 28n);
    await desk.ask((api) => api.completeMigration({ id, method: CompletionMethod.POST_COPY }));
    await expect(desk.ask((api) => api.cancelMigration({ id }))).rejects.toMatchObject({ reason: 'PAST_POINT_OF_NO_RETURN' });
    expect(await end(desk, id)).toMatchObject({ state: MigrationState.SUCCEEDED, postCopy: true });
  });

  it('arrives by post-copy although the leader dies right after writing that down', async () => {
    const { desk, vm } = await deskWith({ allowPostCopy: true });
    const id = await move(desk, vm, MigrationMode.LIVE_ONLY);
    await desk.see('post-copy is written down', () => desk.migration(id)?.postCopy === true, 300_000);
    await desk.killLeader();
    expect(await end(desk, id)).toMatchObject({ state: MigrationState.SUCCEEDED, postCopy: true });
    expect(desk.cluster.guests.runningOn(vm)).toEqual(['n2']);
  });

  it.each([
    ['its source dies', (desk: Desk, vm: string) => { desk.cluster.agents[0]?.host.crashGuest(vm); }],
    ['its target loses power', (desk: Desk) => { losePowerForAWhile(desk, 1); }],
  ])('starts anew, once and in one place, where %s in the middle of post-copy', async (_what, strike) => {
    const { desk, vm } = await deskWith({ allowPostCopy: true });
    const id = await move(desk, vm, MigrationMode.LIVE_ONLY);
    await desk.see('it runs on its target', () => desk.cluster.guests.runningOn(vm).includes('n2'), 300_000);
    strike(desk, vm);
    const ended = await end(desk, id);
    expect(ended).toMatchObject({ state: MigrationState.FAILED, reason: 'RESTARTED_COLD', postCopy: true });
    expect(desk.cluster.guests.runningOn(vm)).toHaveLength(1);
  });

  it('waits for a person, who is told what to do, where its source is off in the middle of post-copy', async () => {
    const { desk, vm } = await deskWith({ allowPostCopy: true }, { fencers: 1, faults: ['fencing'] });
    const id = await move(desk, vm, MigrationMode.LIVE_ONLY);
    await desk.see('it runs on its target', () => desk.cluster.guests.runningOn(vm).includes('n2'), 300_000);
    desk.cluster.agents[0]?.losePower();
    await desk.see('it is uncertain', () => desk.migration(id)?.state === MigrationState.UNCERTAIN, 300_000);
    expect(desk.migration(id)).toMatchObject({
      reason: 'FACTS_MISSING',
      detail: expect.stringContaining('the rest of its memory was on n1, which is proven off: once the guest on n2 is stopped it starts anew') as string,
    });
    expect(desk.cluster.guests.runningOn(vm)).toEqual(['n2']);
    desk.cluster.agents[1]?.host.crashGuest(vm);
    await desk.see('its end', () => desk.migration(id)?.endTime !== undefined, 300_000);
    expect(desk.migration(id)).toMatchObject({ state: MigrationState.FAILED, reason: 'RESTARTED_COLD', postCopy: true });
    await desk.see('it runs again', () => desk.cluster.guests.runningOn(vm).length === 1, 300_000);
    expect(desk.cluster.guests.runningOn(vm)).not.toContain('n1');
  });
});

describe('the forecast', () => {
  it('is within a factor of two for guests of ten dirty rates, in eight of them at least', async () => {
    const rates = [0, 5, 10, 20, 30, 40, 50, 60, 70, 80];
    const rows: { rate: number; forecastMs: number; tookMs: number }[] = [];
    const desk = new Desk({ linkBytesPerSecond: LINK });
    await desk.open();
    for (const rate of rates) {
      const simulated = `dirty-rate="${String(rate)}MiB" working-set="512MiB" resident="600MiB"`;
      const vm = await desk.running(`dirty-${String(rate)}`, 'n1', { memoryMib: 1024, simulated });
      // Its node tells how much it has touched with its next figures.
      await desk.pass(15_000);
      const { migration } = await desk.ask((api) => api.createMigration({ vm, targetNode: 'n2', mode: MigrationMode.LIVE_ONLY, requestId: `f-${String(rate)}` }));
      const ended = await end(desk, migration?.id ?? '');
      const transfer = ended.phases.find(({ step }) => step === MigrationStep.TRANSFER);
      rows.push({ rate, forecastMs: milliseconds(ended.forecast?.duration, 0), tookMs: milliseconds(transfer?.duration, 0) });
    }
    const good = rows.filter(({ forecastMs, tookMs }) => forecastMs <= tookMs * 2 && tookMs <= forecastMs * 2);
    expect(good.length, JSON.stringify(rows)).toBeGreaterThanOrEqual(8);
  });
});

describe("a person's word", () => {
  it('is refused where nothing is uncertain, and where an end denies it or is silent', async () => {
    const { desk, vm } = await deskWith({});
    const id = await move(desk, vm, MigrationMode.LIVE_ONLY);
    await sending(desk, id, 2n ** 20n);
    const say = async (node: string): Promise<unknown> =>
      await desk.ask((api) => api.resolveMigration({ id, node, reason: 'I looked' })).catch((error: unknown) => error);
    expect(await say('n1')).toMatchObject({ reason: 'NOT_UNCERTAIN' });
    desk.cluster.agents[1]?.end('killed');
    desk.cluster.agents[1]?.host.losePower();
    await desk.see('it is uncertain', () => desk.migration(id)?.state === MigrationState.UNCERTAIN, 300_000);
    expect(await say('n9')).toMatchObject({ reason: 'INVALID_FIELD' });
    expect(await say('n2')).toMatchObject({ reason: 'FACTS_CONTRADICT', message: expect.stringContaining('the source says') as string });
    expect(await say('')).toMatchObject({ reason: 'FACTS_CONTRADICT' });
    expect(await say('n1')).toMatchObject({ reason: 'FACTS_CONTRADICT', message: expect.stringContaining('does not answer') as string });
    expect(desk.cluster.guests.runningOn(vm)).toEqual(['n1']);
    desk.cluster.agents[1]?.host.gainPower();
    desk.cluster.agents[1]?.start();
    expect(await end(desk, id)).toMatchObject({ state: MigrationState.ABORTED });
    expect(await say('n1')).toMatchObject({ reason: 'MIGRATION_ENDED' });
  });
});
