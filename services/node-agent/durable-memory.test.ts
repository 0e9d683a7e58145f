// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { createMemoryState } from '../platform/state/memory.js';
import { DurableMemory } from './durable-memory.js';

const VM = 'vm-1';

describe('the durable memory', () => {
  it('keeps epochs, floors and notes over a restart, and never lowers them', async () => {
    const state = createMemoryState();
    const memory = await DurableMemory.load(state, 'a');
    expect(memory.fresh).toBe(true);
    await memory.raiseLeaderEpoch('scheduler', 5n);
    await memory.raiseLeaderEpoch('scheduler', 3n);
    await memory.change(VM, { floor: 7n, outgoing: { migrationId: 'm', placementEpoch: 8n, transferStarted: true } });
    await memory.change(VM, { floor: 2n });
    await memory.closeOutgoing(VM, 'm');

    const again = await DurableMemory.load(state, 'a');
    expect(again.fresh).toBe(false);
    expect(again.leaderEpoch('scheduler')).toBe(5n);
    expect(again.leaderEpoch('fencer')).toBe(0n);
    expect(again.notes(VM)).toMatchObject({ floor: 7n, closedMigrations: ['m'] });
    expect(again.notes(VM).outgoing).toBeUndefined();
  });

  it('writes one after another, and together what came meanwhile; all of it is there when it resolves', async () => {
    const state = createMemoryState();
    const save = state.save.bind(state);
    const releases: (() => void)[] = [];
    let inFlight = 0;
    let most = 0;
    state.save = async (document) => {
      most = Math.max(most, ++inFlight);
      await new Promise<void>((resolve) => releases.push(resolve));
      inFlight -= 1;
      await save(document);
    };
    const memory = await DurableMemory.load(state, 'a');
    const changes = Array.from({ length: 50 }, (_, n) => memory.change(`vm-${String(n)}`, { floor: BigInt(n + 1) }));
    const all = Promise.all(changes);
    while (await pending(all)) releases.shift()?.();
    await all;
    expect(most).toBe(1);
    const again = await DurableMemory.load(state, 'a');
    expect(again.notes('vm-49').floor).toBe(50n);
    expect(again.notes('vm-0').floor).toBe(1n);
  });

  it('does not count an epoch as kept whose write failed', async () => {
    const state = createMemoryState();
    const save = state.save.bind(state);
    state.save = () => Promise.reject(new Error('disk full'));
    const memory = await DurableMemory.load(state, 'a');
    await expect(memory.raiseLeaderEpoch('scheduler', 5n)).rejects.toThrow('disk full');
    await expect(memory.raiseLeaderEpoch('scheduler', 5n)).rejects.toThrow('disk full');
    state.save = save;
    await memory.raiseLeaderEpoch('scheduler', 5n);
    expect(memory.raiseLeaderEpoch('scheduler', 5n)).toBeUndefined();
    expect((await DurableMemory.load(state, 'a')).leaderEpoch('scheduler')).toBe(5n);
  });

  it('believes the mark of a Finish in the boot and for the migration it was set in', async () => {
    const state = createMemoryState();
    const memory = await DurableMemory.load(state, 'a');
    const armed = { migrationId: 'm', placementEpoch: 2n, bootId: memory.bootId, memoryBytes: 1n, vcpus: 1, closed: false };
    await memory.change(VM, { armed });
    await memory.markFinishing(VM, 'm');
    expect((await DurableMemory.load(state, 'a')).isFinishing(VM, 'm')).toBe(true);
    expect((await DurableMemory.load(state, 'a')).isFinishing(VM, 'other')).toBe(false);
    state.reboot();
    expect((await DurableMemory.load(state, 'a')).isFinishing(VM, 'm')).toBe(false);
  });

  it.each([
    ['not JSON', '{'],
    ['of an unknown format', JSON.stringify({ format: 2 })],
    ['with an epoch that is no number', JSON.stringify({ format: 1, node: 'a', leaderEpochs: { scheduler: 'x', fencer: '0' }, vms: {} })],
  ])('refuses to start on a document %s', async (_what, document) => {
    const state = createMemoryState();
    await state.save(document);
    await expect(DurableMemory.load(state, 'a')).rejects.toThrow(/damaged/);
  });

  it('refuses to start on the memory of another node', async () => {
    const state = createMemoryState();
    await (await DurableMemory.load(state, 'a')).keep();
    await expect(DurableMemory.load(state, 'b')).rejects.toThrow(/belongs to node a, not to b/);
  });
});

async function pending(promise: Promise<unknown>): Promise<boolean> {
  return Promise.race([
    promise.then(() => false),
    new Promise<boolean>((resolve) => {
      setImmediate(() => {
        resolve(true);
      });
    }),
  ]);
}
