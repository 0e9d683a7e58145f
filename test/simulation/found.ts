// SPDX-License-Identifier: Apache-2.0
import type { Mutation } from './mutate.js';

/** A mistake that the simulation found in the services. */
export interface Found {
  /** What was wrong. */
  what: string;
  /** The commit that mended it. */
  commit: string;
  /** Takes that commit's cure out again. */
  undo: Mutation;
}

/**
 * Mistakes of the services that seeds found, by a name to plant them again with. Seeds mean other runs whenever the swarm
 * changes; so each is found anew, by the seed that `found.test.ts` names.
 */
export const FOUND = {
  'read-internal': {
    what: 'a store that did not answer a read was INTERNAL to the caller',
    commit: '4ca6932',
    undo: {
      file: 'membership/ledger.js',
      find: 'return await env.store.get(key, { consistency: \'consistent\' });\n    }\n    catch (error) {\n        throw storeTrouble(error);',
      replace: 'return await env.store.get(key, { consistency: \'consistent\' });\n    }\n    catch (error) {\n        throw error;',
    },
  },
  'lost-connection': {
    what: 'Abort(source) insisted on a connection that a restarted hypervisor had lost: the VM stayed locked for ever',
    commit: '5031121',
    undo: {
      file: 'node-agent/migration/source.js',
      find: 'if (open !== undefined && !open.handle.lost.aborted) {',
      replace: 'if (open !== undefined) {',
    },
  },
  'in-nobodys-hands': {
    what: 'a migration whose opening write had an unknown outcome was in nobody\'s hands',
    commit: '91c7137',
    undo: {
      file: 'scheduler/migrations/queue.js',
      find: 'while (!term.ended.aborted) {',
      replace: 'for (let once = true; once; once = false) {',
    },
  },
  'closed-twice': {
    what: 'a closing write with an unknown outcome was repeated, and changed the closed record',
    commit: '2115707',
    undo: {
      file: 'scheduler/migrations/journal.js',
      find: 'if (isTerminal(state) && (migration?.state ?? state) === state)',
      replace: 'if (false)',
    },
  },
  'given-up-for-ever': {
    what: 'a node had given a placement up, and the record named it for ever: the VM never ran again',
    commit: 'dc1f30e',
    undo: { file: 'scheduler/assign.js', find: 'await this.renew(stored, error);', replace: '' },
  },
  'opened-after-all': {
    what: 'a move whose opening write had an unknown outcome was called off without being settled: its VM stayed locked',
    commit: 'e5a5bfc',
    undo: {
      file: 'scheduler/migrations/queue.js',
      find: 'if (record.state !== MigrationState.PENDING)\n                throw new LockstepError(\'STORE_CONFLICT\'',
      replace: 'if (false)\n                throw new LockstepError(\'STORE_CONFLICT\'',
    },
  },
  'left-behind': {
    what: 'a host that came back kept the copy of a VM that had been undefined meanwhile',
    commit: '48a2d86',
    undo: { file: 'node-agent/assign.js', find: 'new Map(undefinedVms)', replace: 'new Map()' },
  },
  'one-room-twice': {
    what: 'two moves that were asked for while the store was slow were promised the same room',
    commit: '8030895',
    undo: {
      file: 'scheduler/nodes/snapshot.js',
      find: '[...leading.creating, ...leading.rehoming]',
      replace: '[...leading.rehoming]',
    },
  },
  'late-wish': {
    what: 'a wish that a connection delivered late took back a later one: what was stopped ran on',
    commit: 'df6e03c',
    undo: { file: 'node-agent/vm-orders.js', find: 'this.#refuseOvertaken(vmId, told);', replace: '' },
  },
  'moved-while-undefined': {
    what: 'a VM was undefined while a move of it was written down, and every leader fell over that move',
    commit: 'debccda',
    undo: { file: 'scheduler/vms/lifecycle.js', find: 'leading.undefining.add(record.id);', replace: '' },
  },
  'room-of-one-end': {
    what: 'the room of a move was counted at one end only, while the records of the move and of its VM disagreed',
    commit: 'f107c57',
    undo: {
      file: 'scheduler/nodes/snapshot.js',
      find: "        const isOver = isTerminal(state);\n        if (isOver && leading.vms.get(vmId)?.record.placement?.migrationId !== id)\n            return [];",
      replace:
        'if (isTerminal(state) || state === MigrationState.COMMITTING) return [];\n' +
        'return [{ vmId, target: state === MigrationState.STARTING ? sourceNode : targetNode }]; const isOver = true;',
    },
  },
  'stop-all-internal': {
    what: 'a hypervisor that did not answer was INTERNAL to whoever had all VMs of its host stopped',
    commit: '08cf089',
    undo: {
      file: 'node-agent/fencing/stop-all.js',
      find: "throw asLockstepError(error, 'StopAllVms');",
      replace: 'throw error;',
    },
  },
  'own-opening': {
    what: 'a move whose creation was known late was closed over its own opening, and its VM stayed locked',
    commit: 'dc99c81',
    undo: {
      file: 'scheduler/settled-write.js',
      find: 'return { record: found, index: entry.index };',
      replace: 'return { record, index: entry.index };',
    },
  },
  'note-of-the-undefined': {
    what: 'a host that came back kept the copy of an undefined VM for the note of a move that was over',
    commit: 'd36ec85',
    undo: { file: 'node-agent/assign.js', find: "await closeNotes(parts, vmId, '');", replace: '' },
  },
  'not-told-again': {
    what: 'a node gave a VM up for a relocation that was not written, and nobody told it again to run it',
    commit: 'fa280f2',
    undo: { file: 'scheduler/vms/lifecycle.js', find: 'leading.toTellAgain.add(vm.id);', replace: '' },
  },
  'unsettled-definition': {
    what: 'a definition with an unknown outcome freed its room, and a move was promised the same',
    commit: '857e022',
    undo: {
      file: 'scheduler/vms/define.js',
      find: 'await writeUntilKnown(leading, ops, {',
      replace:
        'await (async (own) => { const index = await leading.ledger.write(ops); ' +
        'return { record: { ...own.record, etag: index.toString() }, index }; })({',
    },
  },
  'late-stop': {
    what: 'a stop of an earlier placement that a connection delivered late undid the next start, where nothing was defined yet',
    commit: '6b2088b',
    undo: {
      file: 'node-agent/vm-orders.js',
      find: 'if (told === undefined || told <= placementEpoch)',
      replace: 'if (true)',
    },
  },
  'half-adopted': {
    what: 'a drain took a guest whose adoption was not finished for a VM that stands, and waited for it for ever',
    commit: '2c474c2',
    undo: { file: 'scheduler/migrations/create.js', find: 'status?.state === VmState.UNMANAGED', replace: 'false' },
  },
  'end-of-a-term': {
    what: 'a test of the fencing that the loss of the lease cut short was INTERNAL to its caller',
    commit: '94ad879',
    undo: { file: 'membership/leadership.js', find: 'end(leadsNoMore(lease.lost.reason));', replace: 'end(lease.lost.reason);' },
  },
  'adopted-too-soon': {
    what: 'a guest whose adoption was not finished was started elsewhere when its host died, and stayed on that host',
    commit: '4f79c6b',
    undo: {
      file: 'scheduler/vms/adopt.js',
      find: 'writeNewVm(leading, { ...vm, desired: VmDesired.UNMANAGED }, holds)',
      replace: 'writeNewVm(leading, vm, holds)',
    },
  },
} as const satisfies Readonly<Record<string, Found>>;
