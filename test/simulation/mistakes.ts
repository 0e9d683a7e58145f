// SPDX-License-Identifier: Apache-2.0
import type { Mutation } from './mutate.js';

/** A proof that an end is off which nobody gave: it holds as long as the node's record stays as it is. */
const PROVEN =
  '((end) => { const name = attempt.nodeOf(end); const view = attempt.leading.nodes.node(name); return view && ' +
  '{ node: name, fenceActionId: "none", incarnation: view.record.incarnation, holds: { op: "check", key: "lockstep/v1/nodes/" + name, index: view.recordIndex } }; })';

/** Mistakes that the simulation must find, each taken out of one guard of the services. */
export const MISTAKES: Readonly<Record<string, Mutation | readonly Mutation[]>> = {
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
  'counts a silent target as proven off': [
    {
      file: 'scheduler/migrations/settle.js',
      find: 'target?.targetFact ?? TargetFact.UNREACHABLE',
      replace: 'target?.targetFact ?? TargetFact.OFF',
    },
    {
      file: 'scheduler/migrations/settle.js',
      find: 'return { facts, gone };',
      replace: `if (target === undefined) gone.target ??= ${PROVEN}(TARGET); return { facts, gone };`,
    },
  ],
  'counts a silent source as proven off': [
    {
      file: 'scheduler/migrations/settle.js',
      find: 'source?.sourceFact ?? SourceFact.UNREACHABLE',
      replace: 'source?.sourceFact ?? SourceFact.OFF',
    },
    {
      file: 'scheduler/migrations/settle.js',
      find: 'return { facts, gone };',
      replace: `if (source === undefined) gone.source ??= ${PROVEN}(SOURCE); return { facts, gone };`,
    },
  ],
  'counts a silent BMC as off': [
    {
      file: 'fencer/actions/ladder-run.js',
      find: 'outcome = { missing: wordsOf(error) };',
      replace: "outcome = await this.#believed(device, 'was off already');",
    },
    {
      file: 'fencer/actions/ladder-run.js',
      find: 'last = wordsOf(error);',
      replace: "last = 'off';",
    },
  ],
  'believes a BMC that took the order': {
    file: 'fencer/actions/ladder-run.js',
    find: 'last = await readOwnPower(device, hostUuid, this.#call());',
    replace: "last = said === 'the device took the order' ? 'off' : await readOwnPower(device, hostUuid, this.#call());",
  },
  'commits without Finish': {
    file: 'node-agent/migration/target.js',
    find: 'await this.#finish(open, told);',
    replace: '',
  },
  'takes a target that ran for one that never did': [
    {
      file: 'node-agent/migration/target.js',
      find: 'await memory.markFinishing(vmId, migrationId);',
      replace: '',
    },
    {
      file: 'node-agent/facts.js',
      find: 'domain.placementEpoch === armed.placementEpoch',
      replace: 'false',
    },
  ],
  'forgets the floor': {
    file: 'node-agent/durable-memory.js',
    find: 'change.floor === undefined || change.floor < before.floor ? before.floor : change.floor',
    replace: 'before.floor',
  },
  'starts what it remembers without asking the record': [
    {
      file: 'node-agent/vm-step.js',
      find: "if (wish.from === 'memory')",
      replace: 'if (false)',
    },
    {
      file: 'node-agent/reconcile.js',
      find: 'const refusal = await this.#entitlement(worker);',
      replace: 'const refusal = undefined;',
    },
  ],
  // By its own note, and by the record.
  'starts a VM although a migration is open': [
    {
      file: 'node-agent/vm-step.js',
      find: 'if (notes.outgoing !== undefined || notes.armed?.closed === false) {',
      replace: 'if (false) {',
    },
    { file: 'node-agent/reconcile.js', find: "return placement.migrationId === ''", replace: 'return true' },
  ],
  'reads placements from a stale server': [
    {
      file: 'node-agent/joining.js',
      find: "const CONSISTENT = { consistency: 'consistent' };",
      replace: "const CONSISTENT = { consistency: 'stale' };",
    },
    {
      file: 'node-agent/reconcile.js',
      find: "store.get(keys.vm(vmId), { consistency: 'consistent'",
      replace: "store.get(keys.vm(vmId), { consistency: 'stale'",
    },
  ],
  'starts elsewhere before the old node gave up': {
    file: 'scheduler/vms/lifecycle.js',
    find: 'await leaveNode(leading, record, begin)',
    replace: 'await begin()',
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
  'reverses the order of the queue': {
    file: 'core/migration/admission.js',
    find: '.sort((a, b) => b.migration.priority - a.migration.priority ||',
    replace: '.sort((a, b) => a.migration.priority - b.migration.priority ||',
  },
  'lets no source have its turn': {
    file: 'core/migration/admission.js',
    find: 'a.turn - b.turn || ',
    replace: '',
  },
  'lets any number of VMs come to a node': {
    file: 'core/migration/admission.js',
    find: 'if (coming >= inPerNode)',
    replace: 'if (false)',
  },
  'lets a leader decide before both agents know its epoch': {
    file: 'node-agent/orders.js',
    find: 'const saving = this.memory.raiseLeaderEpoch(role, epoch);',
    replace: 'const saving = undefined;',
  },
  'feeds a watchdog whose lease is lost': {
    file: 'node-agent/fencing/self-fence.js',
    find: 'if (this.#isLost()) {',
    replace: 'if (false) {',
  },
  'takes what its proof is about for the node as it is now': {
    file: 'fencer/actions/journal.js',
    find: 'if (entry !== undefined && record?.incarnation === action.incarnation)',
    replace: 'if (entry !== undefined)',
  },
  'follows a drain that has ended': {
    file: 'scheduler/drains/drain-watch.js',
    find: 'if (!hasEnded(stored.record))',
    replace: 'if (true)',
  },
  'goes on with a fence action that has ended': [
    {
      file: 'fencer/actions/journal.js',
      find: 'if (stored === undefined || isFenceEnded(stored.record.state))',
      replace: 'if (stored === undefined)',
    },
    {
      file: 'fencer/actions/journal.js',
      find: 'if (!fenceMayFollow(stored.record.state, after.state)) {',
      replace: 'if (false) {',
    },
    {
      file: 'fencer/actions/journal.js',
      find: 'if (stored === undefined || isFenceEnded(stored.record.state))',
      replace: 'if (stored === undefined)',
    },
  ],
  'does not say what a migration waits for': {
    file: 'scheduler/migrations/queue.js',
    find: 'waitingReason: this.waiting.get(record.id) ?? record.waitingReason',
    replace: "waitingReason: ''",
  },
  'does not say what a VM waits for': {
    file: 'scheduler/vms/status.js',
    find: "return { state: VmState.WAITING_FENCE, reason: 'NODE_UNREACHABLE', detail };",
    replace: "return { state: VmState.WAITING_FENCE, reason: '', detail };",
  },
};
