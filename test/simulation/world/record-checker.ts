// SPDX-License-Identifier: Apache-2.0
import { Leader, Migration, MigrationState, Node, Vm } from '@lockstep/sdk/v1';
import { keys, nameOf } from '@lockstep/services/core/records/keys.js';
import type { DriverOp } from '@lockstep/services/platform/store/driver.js';
import type { Life } from './life.js';
import type { Violations } from './violations.js';

const ENDS: readonly MigrationState[] = [MigrationState.SUCCEEDED, MigrationState.ABORTED, MigrationState.FAILED];

/** What is known besides the records. */
export interface Outside {
  /** Whether somebody asked for this VM to be forgotten. */
  mayVanish(vmId: string): boolean;
  /** What a node has; undefined: there is no such node. */
  memoryBytes(node: string): bigint | undefined;
  /** Where its vCPUs ran last, or run. */
  lastRanOn(vmId: string): string | undefined;
  /** The highest placement epoch of a VM that is given up on a node's disk. */
  floor(node: string, vmId: string): bigint;
  /** Whether what joined with this incarnation may still be there: its host has lost no power since. */
  mayLive(node: string, incarnation: bigint): boolean;
  /** Told of every record of a node that is written, and who wrote it. */
  joined(node: string, incarnation: bigint, life: Life): void;
}

/**
 * The store's records as they are committed, and the promises about them: epochs never fall, ends stay, nothing
 * acknowledged vanishes, a request has one effect, capacity is promised once (INV-4, INV-5, INV-6).
 */
export class RecordChecker {
  readonly vms = new Map<string, Vm>();
  readonly migrations = new Map<string, Migration>();
  readonly nodes = new Map<string, Node>();
  /** Told of each VM record that is written, and of what it was before. */
  onVm: (vm: Vm, before: Vm | undefined) => void = () => undefined;
  onNode: (node: Node, before: Node | undefined) => void = () => undefined;
  readonly #texts = new Map<string, string>();
  readonly #leaderEpochs = new Map<string, bigint>();
  readonly #lastEpochs = new Map<string, bigint>();
  readonly #requests = new Map<string, string>();

  /** Which life of a replica took the leadership last. */
  readonly #leaders = new Map<string, string>();

  constructor(
    private readonly violations: Violations,
    private readonly outside: Outside,
  ) {}

  committed(ops: readonly DriverOp[], life: Life): void {
    // A VM's record is looked at with the migrations as they were before the transaction.
    const vmsFirst = [...ops].sort((one, other) => Number(isVm(other)) - Number(isVm(one)));
    for (const op of vmsFirst) {
      if ('key' in op) this.#mayWrite(op.key, life);
      if ('value' in op && op.key.startsWith(keys.nodes)) {
        this.outside.joined(nameOf(op.key), Node.fromJSON(JSON.parse(op.value)).incarnation, life);
      }
      if (op.op === 'delete' || op.op === 'delete-cas') this.#deleted(op.key);
      else if ('value' in op) this.#written(op.key, op.value);
    }
  }

  /** The epoch with which a life of a Scheduler leads; undefined: it does not. */
  epochOf({ name }: Life): bigint | undefined {
    return this.#leaders.get('scheduler') === name ? this.#leaderEpochs.get(keys.leader('scheduler')) : undefined;
  }

  /** The life of a replica that took the leadership last. */
  leader(role: 'scheduler' | 'fencer'): string | undefined {
    return this.#leaders.get(role);
  }

  /** Migrations that have not ended. */
  open(): Migration[] {
    return [...this.migrations.values()].filter(({ state }) => !ENDS.includes(state));
  }

  /** INV-4: what the Scheduler's leader keeps is written by nobody who was followed as leader. */
  #mayWrite(key: string, { name }: Life): void {
    const role = [keys.leader('scheduler'), keys.leader('fencer')].indexOf(key);
    if (role >= 0) this.#leaders.set(role === 0 ? 'scheduler' : 'fencer', name);
    if (!key.startsWith(keys.vms) && !key.startsWith(keys.migrations)) return;
    const leader = this.#leaders.get('scheduler');
    if (leader !== name) this.violations.report('INV-4', `${name} wrote ${nameOf(key)}, and ${leader ?? 'nobody'} leads`);
  }

  /** INV-3: where a fresh attempt may start, every other host of the may-run set has given up or is proven off. */
  #proof(vm: Vm, before: Vm): void {
    const [now, then] = [vm.placement, before.placement];
    if (now === undefined || then === undefined || now.epoch <= then.epoch || this.outside.lastRanOn(vm.id) === now.node) return;
    const open = this.migrations.get(then.migrationId);
    const mayRun: [node: string, epoch: bigint][] = [[then.node, then.epoch]];
    // The target of a move by shutdown is told nothing before the source has stopped; then, and where the target gave up
    // and it goes back to the source, the last epoch drawn is the placement's.
    const isDrawnForTarget = open !== undefined && open.state !== MigrationState.SHUTTING_DOWN && open.placementEpoch > then.epoch;
    if (isDrawnForTarget) mayRun.push([open.targetNode, open.placementEpoch]);
    for (const [node, epoch] of mayRun) {
      if (node === now.node || this.outside.floor(node, vm.id) >= epoch) continue;
      if ((this.nodes.get(node)?.fencedBy ?? '') !== '') continue;
      this.violations.report(
        'INV-3',
        `VM ${vm.id.slice(0, 8)} may start on ${now.node}, and ${node} has neither given up epoch ${String(epoch)} nor is it proven off`,
      );
    }
  }

  #written(key: string, value: string): void {
    this.#texts.set(key, value);
    const name = nameOf(key);
    if (key.startsWith(keys.vms)) this.#vm(name, Vm.fromJSON(JSON.parse(value)));
    else if (key.startsWith(keys.migrations)) this.#migration(name, Migration.fromJSON(JSON.parse(value)));
    else if (key.startsWith(keys.nodes)) this.#node(name, Node.fromJSON(JSON.parse(value)));
    else if (key === keys.leader('scheduler') || key === keys.leader('fencer')) {
      const { leaderEpoch } = Leader.fromJSON(JSON.parse(value));
      this.#mustRise(this.#leaderEpochs, `leader epoch of the ${name}`, key, leaderEpoch);
    }
  }

  #node(name: string, node: Node): void {
    const before = this.nodes.get(name);
    this.nodes.set(name, node);
    const isProof = node.fencedBy !== '' && node.fencedBy !== before?.fencedBy;
    if (isProof && this.outside.mayLive(name, node.incarnation)) {
      this.violations.report('INV-3', `${name} is said to be proven off, and its host has lost no power since it joined`);
    }
    this.onNode(node, before);
  }

  #deleted(key: string): void {
    this.#texts.delete(key);
    const id = nameOf(key);
    if (key.startsWith(keys.migrations)) {
      this.violations.report('INV-2', `the record of migration ${id} was deleted`);
    }
    if (!key.startsWith(keys.vms) || !this.vms.delete(id)) return;
    if (!this.outside.mayVanish(id)) {
      this.violations.report('INV-2', `the record of VM ${id.slice(0, 8)} was deleted, and nobody asked for that`);
    }
  }

  #vm(id: string, vm: Vm): void {
    const { placement, requestId } = vm;
    if (placement === undefined) {
      this.violations.report('INV-3', `VM ${id.slice(0, 8)} was written without placement`);
      return;
    }
    const before = this.vms.get(id);
    const last = this.#lastEpochs.get(id) ?? 0n;
    const { epoch, lastEpoch, node } = placement;
    if (lastEpoch < last) {
      this.violations.report('INV-4', `last epoch of VM ${id.slice(0, 8)} fell from ${String(last)} to ${String(lastEpoch)}`);
    }
    if (epoch > lastEpoch || (before?.placement !== undefined && epoch < before.placement.epoch)) {
      this.violations.report('INV-4', `VM ${id.slice(0, 8)} has placement epoch ${String(epoch)}, last ${String(lastEpoch)}`);
    }
    if (before?.placement !== undefined && before.placement.node !== node && epoch === before.placement.epoch) {
      this.violations.report('INV-3', `VM ${id.slice(0, 8)} went to ${node} without a fresh placement epoch`);
    }
    if (before === undefined && last > 0n && epoch <= last) {
      this.violations.report('INV-4', `VM ${id.slice(0, 8)} was defined again with the old epoch ${String(epoch)}`);
    }
    if (before !== undefined) this.#proof(vm, before);
    this.#lastEpochs.set(id, lastEpoch);
    this.vms.set(id, vm);
    this.onVm(vm, before);
    this.#oneEffect(requestId, `VM ${id}`);
  }

  #migration(id: string, migration: Migration): void {
    const before = this.migrations.get(id);
    if (before !== undefined && ENDS.includes(before.state) && textOf(before) !== textOf(migration)) {
      this.violations.report('INV-5', `migration ${id.slice(-6)} had ended as ${nameOfState(before.state)} and was changed`);
    }
    const { state, reason, endTime } = migration;
    if ((state === MigrationState.ABORTED || state === MigrationState.FAILED) && reason === '') {
      this.violations.report('INV-5', `migration ${id.slice(-6)} ended as ${nameOfState(state)} without a reason`);
    }
    if (ENDS.includes(state) && endTime === undefined) {
      this.violations.report('INV-5', `migration ${id.slice(-6)} ended without a time`);
    }
    if (state === MigrationState.UNCERTAIN && (reason === '' || migration.detail === '')) {
      this.violations.report('INV-5', `migration ${id.slice(-6)} is uncertain without a reason`);
    }
    if (state === MigrationState.COMMITTING && before?.state !== state && this.outside.lastRanOn(migration.vmId) !== migration.targetNode) {
      const ran = this.outside.lastRanOn(migration.vmId) ?? 'no host';
      this.violations.report('INV-3', `migration ${id.slice(-6)} gives the VM to ${migration.targetNode}, and it ran last on ${ran}`);
    }
    const isNew = before === undefined;
    this.migrations.set(id, migration);
    this.#oneEffect(migration.requestId, `migration ${id}`);
    if (isNew) this.#promised(migration);
  }

  /** INV-6: what is placed on a node or on its way there fits it. A person who names a node may define what does not fit there. */
  #promised({ id, vmId, targetNode, createTime: decidedAt }: Migration): void {
    const capacity = this.outside.memoryBytes(targetNode);
    if (capacity === undefined) return;
    const isKnown = ({ createTime }: Vm): boolean => createTime === undefined || decidedAt === undefined || createTime <= decidedAt;
    const there = [...this.vms.values()].filter((vm) => vm.placement?.node === targetNode && isKnown(vm));
    const on = new Set(there.map((vm) => vm.id));
    // From STARTING on the placement says where the VM is to be, and its room at the source is kept as the way back.
    for (const open of this.open()) {
      const kept = open.state === MigrationState.STARTING ? open.sourceNode : open.targetNode;
      if (kept === targetNode) on.add(open.vmId);
    }
    const promised = [...on].reduce((sum, each) => sum + (this.vms.get(each)?.spec?.memoryBytes ?? 0n), 0n);
    if (on.has(vmId) && promised > capacity) {
      this.violations.report('INV-6', `migration ${id.slice(-6)}: ${String(promised)} bytes are promised on ${targetNode}, which has ${String(capacity)}`);
    }
  }

  #oneEffect(requestId: string, effect: string): void {
    if (requestId === '') return;
    const before = this.#requests.get(requestId);
    this.#requests.set(requestId, effect);
    if (before !== undefined && before !== effect) {
      this.violations.report('IDEMPOTENCE', `request ${requestId} made ${before} and ${effect}`);
    }
  }

  #mustRise(known: Map<string, bigint>, what: string, key: string, epoch: bigint): void {
    const before = known.get(key) ?? 0n;
    if (epoch < before) this.violations.report('INV-4', `${what} fell from ${String(before)} to ${String(epoch)}`);
    known.set(key, epoch);
  }
}

function isVm(op: DriverOp): boolean {
  return 'key' in op && op.key.startsWith(keys.vms);
}

/** What must not change any more. */
function textOf(migration: Migration): string {
  return JSON.stringify(Migration.toJSON({ ...migration, progress: undefined }));
}

export function nameOfState(state: MigrationState): string {
  return Object.entries(MigrationState).find(([, value]) => value === state)?.[0] ?? String(state);
}
