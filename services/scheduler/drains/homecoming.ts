// SPDX-License-Identifier: Apache-2.0
import { CreateMigrationRequest, MigrationMode, VmDesired, VmState, type Vm } from '@lockstep/sdk/v1';
import type { Stored } from '../../core/records/codec.js';
import { MIGRATION_PRIORITY } from '../../core/migration/priority.js';
import { createMigration, openMigrationOf } from '../migrations/create.js';
import { obstacleOf } from '../nodes/obstacle.js';
import type { Leading } from '../term.js';
import { leftAlone } from '../vms/left-alone.js';
import { writeVm } from '../vms/lifecycle.js';
import { withStatus } from '../vms/status.js';
import { byLevel } from './by-level.js';
import { Tries } from './tries.js';

/** A VM that runs well where it is has time. */
const FIRST_PAUSE_MS = 30_000;

/**
 * Brings VMs back to the node that maintenance, a drain or an orderly shutdown moved them away from, once it takes VMs
 * again. Nobody asked for that move, so no guest is shut down for it.
 */
export class Homecoming {
  private readonly tries: Tries;

  constructor(private readonly leading: Leading) {
    this.tries = new Tries(leading, FIRST_PAUSE_MS);
  }

  start(): void {
    byLevel(this.leading, 'homecoming', () => this.look());
  }

  private async look(): Promise<void> {
    if (leftAlone(this.leading)) return;
    const away = this.leading.vms.all().filter(({ record }) => record.returnNode !== '');
    this.tries.keepOnly(new Set(away.map(({ record }) => record.id)));
    for (const stored of away) {
      if (this.leading.term.ended.aborted) return;
      await this.bringHome(stored);
    }
  }

  private async bringHome(stored: Stored<Vm>): Promise<void> {
    const { record: vm } = stored;
    const { id, returnNode, placement, desired } = vm;
    if (placement?.migrationId !== '' || openMigrationOf(this.leading, id) !== undefined) return;
    const home = this.leading.nodes.node(returnNode);
    if (placement.node === returnNode || (home === undefined && this.leading.nodes.loaded())) {
      await writeVm(this.leading, stored, { returnNode: '' });
      return;
    }
    if (home === undefined || desired === VmDesired.UNMANAGED || obstacleOf(this.leading, home) !== undefined) return;
    const state = withStatus(this.leading, vm).status?.state;
    const settled = state === VmState.RUNNING || state === VmState.PAUSED || state === VmState.STOPPED;
    if (!settled || !this.tries.mayTry(id)) return;
    const mode = state === VmState.STOPPED ? MigrationMode.SHUTDOWN : MigrationMode.LIVE_ONLY;
    const request = CreateMigrationRequest.create({ vm: id, targetNode: returnNode, mode });
    await this.tries.ask(id, () => createMigration(this.leading, request, MIGRATION_PRIORITY.REBALANCE));
  }
}
