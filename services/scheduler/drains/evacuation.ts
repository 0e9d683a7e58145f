// SPDX-License-Identifier: Apache-2.0
import {
  CreateMigrationRequest,
  MigrationMode,
  NodeJudgement,
  NodeLeavingKind,
  NodeMode,
  ShutdownPolicy,
  VmDesired,
  VmState,
  type ClusterOptions,
  type Vm,
} from '@lockstep/sdk/v1';
import { LockstepError } from '../../core/errors/catalogue.js';
import { MIGRATION_PRIORITY } from '../../core/migration/priority.js';
import { isTerminal } from '../../core/migration/transitions.js';
import type { NodeView } from '../../membership/node-streams.js';
import { createMigration, openMigrationOf } from '../migrations/create.js';
import type { MigrationQueue } from '../migrations/queue.js';
import type { Leading } from '../term.js';
import { leftAlone } from '../vms/left-alone.js';
import { withStatus } from '../vms/status.js';
import { byLevel } from './by-level.js';
import { openDrainOf } from './history.js';
import { Tries } from './tries.js';

/**
 * Empties nodes that are to be empty: those that are drained, in maintenance, or that go down and whose VMs are to leave.
 * By level: every VM that is placed there and not on its way gets a move in the queue, whose bounds hold; what cannot
 * leave is named with its reason and tried again.
 */
export class Evacuation {
  private readonly tries: Tries;
  /** Migrations that cannot be called off any more. */
  private readonly finishing = new Set<string>();

  constructor(
    private readonly leading: Leading,
    private readonly queue: MigrationQueue,
  ) {
    this.tries = new Tries(leading);
  }

  start(): void {
    byLevel(this.leading, 'evacuation', () => this.look());
  }

  private async look(): Promise<void> {
    if (leftAlone(this.leading)) return;
    const { nodes, vms, term, cannotLeave } = this.leading;
    const ways = new Map(nodes.nodes().map((view) => [view.name, wayOutOf(this.leading, view)]));
    const leaving = vms.all().filter(({ record }) => ways.get(record.placement?.node ?? '') !== undefined);
    const ids = new Set(leaving.map(({ record }) => record.id));
    this.tries.keepOnly(ids);
    for (const id of [...cannotLeave.keys()]) if (!ids.has(id)) cannotLeave.delete(id);
    for (const { record } of leaving.sort((a, b) => byImportance(a.record, b.record))) {
      const way = ways.get(record.placement?.node ?? '');
      if (way !== undefined && !term.ended.aborted) await this.move(record, way);
    }
    await this.callOff();
  }

  /** Moves away from a node that is not to be empty any more; what is past its point of no return is finished. */
  private async callOff(): Promise<void> {
    const { migrations, nodes, env } = this.leading;
    const open = migrations.all().filter(({ record }) => !isTerminal(record.state) && record.priority === MIGRATION_PRIORITY.DRAIN);
    for (const id of this.finishing) if (!open.some(({ record }) => record.id === id)) this.finishing.delete(id);
    for (const { record } of open) {
      const view = nodes.node(record.sourceNode);
      const over = view?.record.fencedBy === '' && wayOutOf(this.leading, view) === undefined;
      if (!over || record.cancelRequested || this.finishing.has(record.id)) continue;
      try {
        await this.queue.cancel(record.id);
      } catch (error) {
        const { reason } = error instanceof LockstepError ? error : { reason: 'INTERNAL' };
        if (reason === 'PAST_POINT_OF_NO_RETURN' || reason === 'MIGRATION_ENDED') this.finishing.add(record.id);
        else env.log.child('evacuation').warn(`migration ${record.id} is not called off yet`, { error });
      }
    }
  }

  private async move(vm: Vm, way: MigrationMode): Promise<void> {
    const { cannotLeave } = this.leading;
    if (openMigrationOf(this.leading, vm.id) === undefined && !this.leading.creating.has(vm.id)) {
      if (vm.desired === VmDesired.UNMANAGED) {
        cannotLeave.set(vm.id, { reason: 'UNMANAGED', detail: `${vm.name} is left alone by its owner's wish` });
        return;
      }
      if (this.tries.mayTry(vm.id)) await this.ask(vm, way);
    }
    const hindrance = this.tries.hindrance(vm.id);
    if (hindrance === undefined) cannotLeave.delete(vm.id);
    else cannotLeave.set(vm.id, hindrance);
  }

  private async ask(vm: Vm, way: MigrationMode): Promise<void> {
    const source = vm.placement?.node ?? '';
    const failback = vm.spec?.failback ?? true;
    const returnNode = vm.returnNode === '' ? source : vm.returnNode;
    await this.tries.ask(vm.id, async () => {
      const request = CreateMigrationRequest.create({ vm: vm.id, mode: isLive(this.leading, vm) ? way : MigrationMode.SHUTDOWN });
      return await createMigration(this.leading, request, MIGRATION_PRIORITY.DRAIN, failback ? returnNode : '');
    });
  }
}

/** How running VMs leave a node that is to be empty; undefined: it is not to be. */
export function wayOutOf(leading: Leading, view: NodeView): MigrationMode | undefined {
  const { name, record } = view;
  if (record.fencedBy !== '') return undefined;
  const leaving = leavingKindOf(view);
  if (leaving !== undefined) return wayOf(leading.options, leaving);
  if (openDrainOf(leading, name) !== undefined) return MigrationMode.LIVE_OR_SHUTDOWN;
  return record.mode === NodeMode.MAINTENANCE ? MigrationMode.LIVE_OR_SHUTDOWN : undefined;
}

/** How a host goes down, by its own word; undefined: it does not. */
export function leavingKindOf({ record, report }: NodeView): NodeLeavingKind | undefined {
  const said = record.leaving ?? (report?.node.judgement === NodeJudgement.LEAVING ? report.node.leaving : undefined);
  return said?.kind;
}

/** What the cluster's policy says of VMs on a host that goes down; undefined: they stay. */
function wayOf(options: ClusterOptions | undefined, kind: NodeLeavingKind): MigrationMode | undefined {
  switch (options?.shutdownPolicy ?? ShutdownPolicy.UNSPECIFIED) {
    case ShutdownPolicy.MIGRATE:
      return MigrationMode.LIVE_OR_SHUTDOWN;
    case ShutdownPolicy.FAILOVER:
      return MigrationMode.SHUTDOWN;
    case ShutdownPolicy.FREEZE:
      return undefined;
    case ShutdownPolicy.CONDITIONAL:
    case ShutdownPolicy.UNSPECIFIED:
    case ShutdownPolicy.UNRECOGNIZED:
      return kind === NodeLeavingKind.SHUTDOWN ? MigrationMode.SHUTDOWN : undefined;
  }
}

function isLive(leading: Leading, vm: Vm): boolean {
  const state = withStatus(leading, vm).status?.state;
  return state === VmState.RUNNING || state === VmState.PAUSED;
}

function byImportance(a: Vm, b: Vm): number {
  return (b.spec?.priority ?? 0) - (a.spec?.priority ?? 0) || (a.name < b.name ? -1 : 1);
}
