// SPDX-License-Identifier: Apache-2.0
import type { Mutation } from './mutate.js';

/** Mistakes that the simulation must find, each taken out of one guard of the services. */
export const MISTAKES: Readonly<Record<string, Mutation>> = {
  'skips the epoch check': {
    file: 'node-agent/orders.js',
    find: 'if (speaker.epoch < kept)',
    replace: 'if (false)',
  },
  'takes orders for an earlier life': {
    file: 'node-agent/orders.js',
    find: 'if (header?.incarnation !== joined)',
    replace: 'if (false)',
  },
  'resumes the source before the target gave up': {
    file: 'scheduler/migrations/settle.js',
    find: 'if (target === undefined) {',
    replace: 'if (false) {',
  },
  'resumes the source after the target ran and died': {
    file: 'core/migration/recovery.js',
    find: "STANDS: { RUNNING: 'FORWARD', INCOMING: 'FINISH', NEVER: 'BACK', MAYBE: 'COLD'",
    replace: "STANDS: { RUNNING: 'FORWARD', INCOMING: 'FINISH', NEVER: 'BACK', MAYBE: 'BACK'",
  },
  'goes back although the target runs': {
    file: 'core/migration/recovery.js',
    find: "STANDS: { RUNNING: 'FORWARD'",
    replace: "STANDS: { RUNNING: 'BACK'",
  },
  'counts a silent target as off': {
    file: 'scheduler/migrations/settle.js',
    find: 'target?.targetFact ?? TargetFact.UNREACHABLE',
    replace: 'target?.targetFact ?? TargetFact.OFF',
  },
  'counts a silent source as off': {
    file: 'scheduler/migrations/settle.js',
    find: 'source?.sourceFact ?? SourceFact.UNREACHABLE',
    replace: 'source?.sourceFact ?? SourceFact.OFF',
  },
  'commits without Finish': {
    file: 'node-agent/migration/target.js',
    find: 'await this.#finish(open, told);',
    replace: '',
  },
  'forgets that Finish was called': {
    file: 'node-agent/migration/target.js',
    find: 'await memory.markFinishing(vmId, migrationId);',
    replace: '',
  },
  'forgets the floor': {
    file: 'node-agent/durable-memory.js',
    find: 'change.floor === undefined || change.floor < before.floor ? before.floor : change.floor',
    replace: 'before.floor',
  },
  'starts a VM without asking the record': {
    file: 'node-agent/reconcile.js',
    find: 'const refusal = await this.#entitlement(worker);',
    replace: 'const refusal = undefined;',
  },
  'starts a VM although a migration is open': {
    file: 'node-agent/vm-step.js',
    find: 'if (notes.outgoing !== undefined || notes.armed?.closed === false) {',
    replace: 'if (false) {',
  },
  'reads placements from a stale server': {
    file: 'node-agent/joining.js',
    find: "const CONSISTENT = { consistency: 'consistent' };",
    replace: "const CONSISTENT = { consistency: 'stale' };",
  },
  'starts elsewhere before the old node gave up': {
    file: 'scheduler/vms/lifecycle.js',
    find: 'await leaveNode(leading, record);',
    replace: 'void 0;',
  },
  'writes without checking its session': {
    file: 'membership/ledger.js',
    find: '[check(term), ...ops]',
    replace: 'ops',
  },
  'uses a placement epoch twice': {
    file: 'scheduler/migrations/lockstep.js',
    find: 'const epoch = placement.lastEpoch + 1n;',
    replace: 'const epoch = placement.lastEpoch;',
  },
  'starts cold although one end did not give up': {
    file: 'scheduler/migrations/cold.js',
    find: 'await giveUp(attempt, MigrationRole.SOURCE);',
    replace: '',
  },
  'leaves the VM locked at the end': {
    file: 'scheduler/migrations/lockstep.js',
    find: 'vm: unlocked(vm.record.placement),',
    replace: '',
  },
  'leaves the incoming guest at an abort': {
    file: 'node-agent/migration/target.js',
    find: 'await this.#destroy(order);',
    replace: '',
  },
  'forgets what a request made': {
    file: 'scheduler/migrations/create.js',
    find: '...noteRequest(request.requestId, keys.migration(migration.id)),',
    replace: '',
  },
  'lets a cancel through after the commit': {
    file: 'scheduler/migrations/attempt.js',
    find: "if (this.commit !== 'not-sent' || this.postCopy)",
    replace: 'if (false)',
  },
  'drops what a watch tells': {
    file: 'membership/record-cache.js',
    find: 'this.records.set(name, { record: this.codec.decode(value, index), index });',
    replace: 'if (known === undefined) this.records.set(name, { record: this.codec.decode(value, index), index });',
  },
  'gives up a migration after its first trouble': {
    file: 'scheduler/migrations/queue.js',
    find: 'while (!term.ended.aborted) {',
    replace: 'for (let once = true; once; once = false) {',
  },
  'promises the same memory twice': {
    file: 'scheduler/nodes/snapshot.js',
    find: 'moves: moves(leading),',
    replace: 'moves: [],',
  },
};
