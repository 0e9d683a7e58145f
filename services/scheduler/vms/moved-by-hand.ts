// SPDX-License-Identifier: Apache-2.0
import { VmDesired, type Vm } from '@lockstep/sdk/v1';
import type { Stored } from '../../core/records/codec.js';
import type { Logger } from '../../platform/log/log.js';
import { byLevel } from '../drains/by-level.js';
import type { Leading } from '../term.js';
import { leftAlone } from './left-alone.js';
import { leaveNode, writeVm } from './lifecycle.js';
import { runsByHandOn } from './whereabouts.js';

/**
 * Takes VMs to be where their owners moved them while they were left alone: the copy that carries the record's own
 * placement epoch runs on another node than the record names. The record's node gives it up first (INV-3).
 */
export class MovedByHand {
  private readonly log: Logger;

  constructor(private readonly leading: Leading) {
    this.log = leading.env.log.child('by-hand');
  }

  start(): void {
    byLevel(this.leading, 'by-hand', () => this.look());
  }

  private async look(): Promise<void> {
    if (leftAlone(this.leading)) return;
    for (const stored of this.leading.vms.all()) {
      const node = stored.record.desired === VmDesired.UNMANAGED ? undefined : runsByHandOn(this.leading, stored.record);
      if (node !== undefined && !this.leading.term.ended.aborted) await this.take(stored, node);
    }
  }

  private async take(stored: Stored<Vm>, node: string): Promise<void> {
    const { record } = stored;
    const { placement } = record;
    if (placement === undefined || this.leading.creating.has(record.id)) return;
    const epoch = placement.lastEpoch + 1n;
    await leaveNode(this.leading, record, () => writeVm(this.leading, stored, { placement: { ...placement, node, epoch, lastEpoch: epoch } }));
    this.log.ok(`${record.name} was moved by hand from ${placement.node} to ${node}, and belongs there now`, { vm: record.id });
  }
}
