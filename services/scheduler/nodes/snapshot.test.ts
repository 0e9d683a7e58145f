// SPDX-License-Identifier: Apache-2.0
import { Migration, MigrationState, Vm } from '@lockstep/sdk/v1';
import { describe, expect, it } from 'vitest';
import { migrationCodec, vmCodec } from '../../core/records/codec.js';
import { keys } from '../../core/records/keys.js';
import { countVms } from '../../core/placement/count.js';
import { RecordCache } from '../../membership/record-cache.js';
import { createMemoryLogger } from '../../platform/log/memory.js';
import { moves } from './snapshot.js';

/** On which nodes a VM of a move from h1 to h2 takes room, while it is known to be placed on this one. */
function countsOn(state: MigrationState, { node, locked }: { node: string; locked: boolean }): string[] {
  const log = createMemoryLogger();
  const migrations = new RecordCache(keys.migrations, migrationCodec, log);
  const vms = new RecordCache(keys.vms, vmCodec, log);
  const vm = Vm.create({ id: 'vm-1', placement: { node, migrationId: locked ? 'm-1' : '' } });
  const move = Migration.create({ id: 'm-1', vmId: 'vm-1', sourceNode: 'h1', targetNode: 'h2', state });
  vms.put(vm.id, { record: vm, index: 1n });
  migrations.put(move.id, { record: move, index: 1n });
  const counted = countVms({
    records: [vm],
    reports: new Map(),
    moves: moves({ migrations, vms, creating: new Map(), rehoming: new Map() }),
  });
  return [...counted.vms, ...counted.promises].map((one) => one.node).sort();
}

describe('the room of a VM that moves from h1 to h2', () => {
  const { PENDING, PREPARED, COMMITTING, SHUTTING_DOWN, STARTING, SUCCEEDED, ABORTED } = MigrationState;

  it.each([
    ['is promised at the target while it waits', PENDING, { node: 'h1', locked: false }, ['h1', 'h2']],
    ['is promised at the target while it is sent', PREPARED, { node: 'h1', locked: true }, ['h1', 'h2']],
    ['is kept at the source while it may go back', STARTING, { node: 'h2', locked: true }, ['h1', 'h2']],
    ['is free at the source once it is committed', COMMITTING, { node: 'h2', locked: true }, ['h2']],
    ['is free at the source at the end', SUCCEEDED, { node: 'h2', locked: false }, ['h2']],
    ['is free at the target if it stayed', ABORTED, { node: 'h1', locked: false }, ['h1']],
  ] as const)('%s', (_, state, vm, nodes) => {
    expect(countsOn(state, vm)).toEqual(nodes);
  });

  it.each([
    ['was shut down', STARTING],
    ['shuts down', SHUTTING_DOWN],
    ['was committed', COMMITTING],
    ['is over', SUCCEEDED],
  ] as const)('is promised at the target when the move %s and the VM is still known as it was', (_, state) => {
    expect(countsOn(state, { node: 'h1', locked: true })).toEqual(['h1', 'h2']);
  });

  it('is kept at the source when the VM is known at the target already, and the move is still known to shut it down', () => {
    expect(countsOn(SHUTTING_DOWN, { node: 'h2', locked: true })).toEqual(['h1', 'h2']);
  });

  it('is promised at the source when the move was undone and the VM is still known at the target', () => {
    expect(countsOn(ABORTED, { node: 'h2', locked: true })).toEqual(['h1', 'h2']);
  });
});
