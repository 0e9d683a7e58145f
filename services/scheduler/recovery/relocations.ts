// SPDX-License-Identifier: Apache-2.0
import { EventSeverity, VmDesired, VmState, type Vm, type VmReport, type VmTrouble } from '@lockstep/sdk/v1';
import { explain } from '../../core/placement/place.js';
import type { Stored } from '../../core/records/codec.js';
import { subjects } from '../../membership/events.js';
import type { Logger } from '../../platform/log/log.js';
import { decide } from '../nodes/choose.js';
import { withRoom } from '../settled-write.js';
import type { Leading } from '../term.js';
import { leftAlone } from '../vms/left-alone.js';
import { leaveNode, placeVm, writeVm } from '../vms/lifecycle.js';
import { waitForTarget } from './no-target.js';

const RECHECK_EVERY_MS = 5_000;
const AT_ONCE = 4;
/** A VM that ran this long is taken for healed. */
const HEALED_AFTER_MS = 600_000;
const DEFAULT_MAX_RELOCATE = 1;

/**
 * Gives VMs that an agent could not keep running to another node, as often as they may be given, then ends in ERROR with
 * the reason. By level: what an agent hands back stays handed back until the VM is elsewhere, given up or started anew.
 */
export class Relocations {
  private readonly log: Logger;
  private readonly busy = new Set<string>();
  /** VMs for which no other node was found. */
  private readonly waiting = new Set<string>();
  /** Since when a VM with trouble has been seen running, by the monotonic clock. */
  private readonly runsSince = new Map<string, number>();

  constructor(private readonly leading: Leading) {
    this.log = leading.env.log.child('relocate');
  }

  start(): void {
    const { nodes, term, env } = this.leading;
    const look = (): void => {
      this.look();
    };
    nodes.onChange(look);
    const recheck = (): void => {
      if (term.ended.aborted) return;
      look();
      env.clock.after(RECHECK_EVERY_MS, recheck);
    };
    recheck();
  }

  private look(): void {
    if (this.leading.term.ended.aborted || leftAlone(this.leading)) return;
    for (const id of this.waiting) this.stopWaitingUnlessDue(id);
    for (const stored of this.leading.vms.all()) {
      if (this.busy.size >= AT_ONCE) return;
      if (this.busy.has(stored.record.id)) continue;
      const report = this.handedBack(stored.record);
      if (report !== undefined) void this.work(stored, () => this.relocate(stored, report));
      else if (this.hasHealed(stored.record)) void this.work(stored, () => this.forgive(stored));
    }
  }

  private async work({ record }: Stored<Vm>, deed: () => Promise<void>): Promise<void> {
    this.busy.add(record.id);
    try {
      await deed();
    } catch (error) {
      // Written meanwhile, or its node did not answer: the next look begins anew.
      this.log.warn(`${record.name} is left for now`, { error });
    } finally {
      this.busy.delete(record.id);
    }
  }

  /** What its node says of a VM that it has given back; undefined: it has not, or this is known already. */
  private handedBack({ id, placement, desired, trouble }: Vm): VmReport | undefined {
    if (placement?.migrationId !== '' || desired !== VmDesired.RUNNING || trouble?.givenUp === true) return undefined;
    const view = this.leading.nodes.node(placement.node);
    if (view?.connected !== true) return undefined;
    const report = view.report?.vms.get(id);
    return report?.status?.reason === 'RESTARTS_EXHAUSTED' && report.placementEpoch === placement.epoch ? report : undefined;
  }

  private async relocate(stored: Stored<Vm>, { status }: VmReport): Promise<void> {
    const { record } = stored;
    const { placement, spec } = record;
    if (placement === undefined || spec === undefined) return;
    const { relocations = 0, nodes = [] } = record.trouble ?? {};
    const failed = { reason: 'RESTARTS_EXHAUSTED', detail: `${placement.node}: ${status?.detail ?? 'it failed'}` };
    const tried = [...new Set([...nodes, placement.node])];
    if (relocations >= (spec.maxRelocate ?? DEFAULT_MAX_RELOCATE)) {
      const reason = relocations === 0 ? failed.reason : 'RELOCATIONS_EXHAUSTED';
      const detail = `${failed.detail}; it failed on ${tried.join(', ')} and is not tried elsewhere`;
      await this.giveUp(stored, { relocations, nodes: tried, reason, detail });
      return;
    }
    const others = (but: readonly string[]): boolean =>
      this.leading.nodes.nodes().some(({ name }) => !but.includes(name) && mayRunOn(spec.nodeLimit, name));
    // Once each node had its turn, another round begins, as often as the VM may be relocated.
    const avoid = others(tried) ? tried : [placement.node];
    const decision = decide(this.leading, spec, { vmId: record.id, source: placement.node, avoid });
    if (decision.node === undefined) {
      const why = `${failed.detail}; ${explain(decision)}`;
      if (!others(avoid)) await this.giveUp(stored, { relocations, nodes: tried, ...failed, detail: why });
      else this.waitForTarget(record, why);
      return;
    }
    const epoch = placement.lastEpoch + 1n;
    const message = `${record.name} goes from ${placement.node} to ${decision.node}: ${failed.detail}`;
    const told = this.leading.events.step({
      ...{ severity: EventSeverity.WARNING, reason: 'VM_RELOCATED', message, subject: subjects.vm(record.id) },
    });
    const change = {
      placement: { ...placement, node: decision.node, epoch, lastEpoch: epoch },
      trouble: this.troubleOf({ relocations: relocations + 1, nodes: avoid, ...failed }),
    };
    await withRoom(this.leading, record.id, decision.node, () =>
      leaveNode(this.leading, record, async () => {
        await this.leading.env.points('scheduler/relocation/left');
        await placeVm(this.leading, stored, change, [told]);
      }),
    );
    this.stopWaiting(record.id);
    this.log.warn(message, { vm: record.id });
  }

  private waitForTarget(vm: Vm, why: string): void {
    waitForTarget(this.leading, vm, why, this.log);
    this.waiting.add(vm.id);
  }

  private stopWaitingUnlessDue(id: string): void {
    const record = this.leading.vms.get(id)?.record;
    if (record === undefined || this.handedBack(record) === undefined) this.stopWaiting(id);
  }

  private stopWaiting(id: string): void {
    if (this.waiting.delete(id)) this.leading.noTarget.delete(id);
  }

  private async giveUp(stored: Stored<Vm>, trouble: Omit<VmTrouble, 'givenUp' | 'time'>): Promise<void> {
    const { id, name } = stored.record;
    const message = `${name} is given up: ${trouble.detail}; try again with: lockstep vm start ${name}`;
    const told = this.leading.events.step({
      ...{ severity: EventSeverity.ERROR, reason: trouble.reason, message, subject: subjects.vm(id) },
    });
    await writeVm(this.leading, stored, { trouble: { ...this.troubleOf(trouble), givenUp: true } }, [told]);
    this.stopWaiting(id);
    this.log.error(message, { vm: id });
  }

  private troubleOf(trouble: Omit<VmTrouble, 'givenUp' | 'time'>): VmTrouble {
    return { ...trouble, givenUp: false, time: this.leading.env.clock.wallTime() };
  }

  private hasHealed({ id, trouble, desired, placement }: Vm): boolean {
    const state = trouble === undefined ? undefined : this.leading.nodes.node(placement?.node ?? '')?.report?.vms.get(id)?.status?.state;
    if (desired !== VmDesired.RUNNING || state !== VmState.RUNNING || trouble?.givenUp !== false) {
      this.runsSince.delete(id);
      return false;
    }
    const nowMs = this.leading.env.clock.nowMs();
    const sinceMs = this.runsSince.get(id) ?? nowMs;
    this.runsSince.set(id, sinceMs);
    return nowMs - sinceMs >= HEALED_AFTER_MS;
  }

  private async forgive(stored: Stored<Vm>): Promise<void> {
    await writeVm(this.leading, stored, { trouble: undefined });
  }
}

function mayRunOn(nodeLimit: readonly string[], node: string): boolean {
  return nodeLimit.length === 0 || nodeLimit.includes(node);
}
