// SPDX-License-Identifier: Apache-2.0
import { VmDesired, VmState, type Vm } from '@lockstep/sdk/v1';
import { byRecoveryOrder, waitsFor, type RecoveryCandidate } from '../../core/recovery/order.js';
import type { Logger } from '../../platform/log/log.js';
import { sleep } from '../../platform/clock/clock.js';
import type { Leading } from '../term.js';
import { leftAlone } from '../vms/left-alone.js';
import { withStatus } from '../vms/status.js';
import { proofOf } from './proof.js';
import { rehome } from './rehome.js';
import { StorageLocks } from './storage-locks.js';

const RECHECK_EVERY_MS = 5_000;
const PAUSE_AFTER_TROUBLE_MS = 500;
/** Writes at a time: enough for the store to be the bound, few enough that the order means something. */
const AT_ONCE = 8;
/** Changes that come together bring one look. */
const COALESCE_MS = 100;
/** A VM that comes after others starts without them after this time. */
const START_AFTER_LIMIT_MS = 180_000;

/**
 * Brings the VMs of hosts that are proven off to others, by level: whatever is placed on such a host and may be moved is
 * moved, found anew after every change of nodes, VMs and migrations, so a new leader, a node that comes back and room
 * that appears need no call. VMs in an open migration are first settled by it.
 */
export class Recovery {
  private readonly log: Logger;
  private looking = false;
  private dirty = false;
  /** VMs that the last round was about. */
  private sought: ReadonlySet<string> = new Set();
  /** When each VM that comes after others was first found waiting, by the monotonic clock. */
  private readonly waitingSince = new Map<string, number>();

  private readonly storageLocks: StorageLocks;

  constructor(private readonly leading: Leading) {
    this.log = leading.env.log.child('recovery');
    this.storageLocks = new StorageLocks(leading, () => void this.look());
  }

  start(): void {
    const { vms, migrations, nodes, term, env } = this.leading;
    const look = (): void => {
      void this.look();
    };
    vms.onChange(look);
    migrations.onChange(look);
    nodes.onChange(look);
    const recheck = (): void => {
      if (term.ended.aborted) return;
      look();
      env.clock.after(RECHECK_EVERY_MS, recheck);
    };
    recheck();
  }

  /** One look at a time; a change during one brings another. Never rejects. */
  private async look(): Promise<void> {
    this.dirty = true;
    if (this.looking) return;
    this.looking = true;
    const { env, term } = this.leading;
    try {
      while (this.dirty && !term.ended.aborted) {
        this.dirty = false;
        const wentWell = await this.round();
        if (!wentWell) this.dirty = true;
        await sleep(env.clock, wentWell ? COALESCE_MS : PAUSE_AFTER_TROUBLE_MS, term.ended).catch(() => undefined);
      }
    } finally {
      this.looking = false;
    }
  }

  /** Every VM that can have its turn gets it. False where something could not be written. */
  private async round(): Promise<boolean> {
    const queue = this.due().sort(byRecoveryOrder);
    const waiting = new Set(queue.map(({ id }) => id));
    for (const id of this.sought) if (!waiting.has(id)) this.leading.noTarget.delete(id);
    this.sought = waiting;
    this.storageLocks.keepOnly(waiting);
    for (const id of this.waitingSince.keys()) if (!waiting.has(id)) this.waitingSince.delete(id);
    const ready = queue.filter((vm) => !this.holdsBack(vm));
    let wentWell = true;
    let next = 0;
    const work = async (): Promise<void> => {
      for (let one = ready[next++]; one !== undefined; one = ready[next++]) {
        try {
          await rehome(this.leading, one.id, this.storageLocks, this.log);
        } catch (error) {
          wentWell = false;
          this.log.warn(`${one.name} could not be recovered yet`, { error });
        }
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    return wentWell;
  }

  private due(): Candidate[] {
    return this.leading.vms.all().flatMap(({ record }) => (this.isDue(record.id) ? [candidateOf(record)] : []));
  }

  private isDue(id: string): boolean {
    const vm = this.leading.vms.get(id)?.record;
    return vm !== undefined && isToRecover(this.leading, vm);
  }

  /** Whether it still waits for VMs that are to run before it. */
  private holdsBack(vm: Candidate): boolean {
    if (vm.desired !== VmDesired.RUNNING || vm.startAfter.length === 0) return false;
    const nowMs = this.leading.env.clock.nowMs();
    const sinceMs = this.waitingSince.get(vm.id) ?? nowMs;
    this.waitingSince.set(vm.id, sinceMs);
    const before = waitsFor(vm, (name) => this.find(name), (first) => this.isUp(first.id));
    if (before.length === 0 || nowMs - sinceMs >= START_AFTER_LIMIT_MS) return false;
    this.leading.noTarget.delete(vm.id);
    return true;
  }

  private find(nameOrId: string): Candidate | undefined {
    const record =
      this.leading.vms.get(nameOrId)?.record ??
      this.leading.vms.all().find(({ record: { name } }) => name === nameOrId)?.record;
    return record === undefined ? undefined : candidateOf(record);
  }

  /** It runs, or nobody wants it to. */
  private isUp(id: string): boolean {
    const vm = this.leading.vms.get(id)?.record;
    if (vm?.desired !== VmDesired.RUNNING) return true;
    return withStatus(this.leading, vm).status?.state === VmState.RUNNING;
  }
}

interface Candidate extends RecoveryCandidate {
  desired: VmDesired;
}

function candidateOf({ id, name, spec, desired }: Vm): Candidate {
  return { id, name, desired, priority: spec?.priority ?? 0, startAfter: spec?.startAfter ?? [] };
}

/** Whether a VM is on a host that is proven off, and is to be somewhere else. */
export function isToRecover(leading: Leading, { placement, desired }: Vm): boolean {
  if (placement?.migrationId !== '') return false;
  if (desired === VmDesired.DISABLED || desired === VmDesired.UNMANAGED || leftAlone(leading)) return false;
  return proofOf(leading, placement.node) !== undefined;
}
