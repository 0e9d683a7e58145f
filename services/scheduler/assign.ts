// SPDX-License-Identifier: Apache-2.0
import { VmDesired, type Vm } from '@lockstep/sdk/v1';
import { LockstepError } from '../core/errors/catalogue.js';
import type { Stored } from '../core/records/codec.js';
import type { Leading } from './term.js';
import { leftAlone } from './vms/left-alone.js';
import { writeVm } from './vms/lifecycle.js';
import { elsewhere } from './vms/whereabouts.js';

const APPLY_DEADLINE_MS = 15_000;
const RECHECK_EVERY_MS = 5_000;
const AT_ONCE = 16;
/** A node that did not take an assignment is asked again after this, whatever changes meanwhile. */
const PAUSE_AFTER_FAILURE_MS = 1_000;

/** What a node acknowledged last of one VM: which write of the record, in which life of its agent. */
interface Acknowledged {
  node: string;
  /** What it was told that the VM shall be. */
  desired: VmDesired;
  incarnation: bigint;
  index: bigint;
}

/**
 * Keeps every node told what its VMs shall be. It compares what the records say with what each agent acknowledged, so a
 * change that comes while another is under way, an agent that was away, or a new leader loses nothing.
 */
export class Assignments {
  private readonly acknowledged = new Map<string, Acknowledged>();
  private readonly telling = new Set<string>();
  /** When a VM's node may be asked again, by the monotonic clock; of those it did not take. */
  private readonly notBefore = new Map<string, number>();

  constructor(private readonly leading: Leading) {}

  start(): void {
    const { vms, nodes, arming, term, env } = this.leading;
    vms.onChange(() => {
      this.tellAll();
    });
    arming.onChange(() => {
      this.tellAll();
    });
    nodes.onChange(() => {
      this.tellAll();
    });
    const recheck = (): void => {
      if (term.ended.aborted) return;
      this.tellAll();
      env.clock.after(RECHECK_EVERY_MS, recheck);
    };
    recheck();
  }

  private tellAll(): void {
    const { term, vms } = this.leading;
    if (term.ended.aborted) return;
    this.forgetAnswers();
    for (const id of this.leading.elsewhere.keys()) if (vms.get(id) === undefined) this.leading.elsewhere.delete(id);
    for (const stored of vms.all()) {
      if (this.telling.size >= AT_ONCE) return;
      if (this.isDue(stored)) void this.tell(stored);
    }
  }

  /** What its node took is void where it was asked to give the VM up since. */
  private forgetAnswers(): void {
    const { toTellAgain } = this.leading;
    for (const id of toTellAgain) {
      const known = this.acknowledged.get(id);
      if (known !== undefined) this.acknowledged.set(id, { ...known, index: 0n });
    }
    toTellAgain.clear();
  }

  private isDue({ record, index }: Stored<Vm>): boolean {
    const { placement, id } = record;
    // While a migration is open both agents listen to it alone.
    if (placement?.migrationId !== '' || this.leading.adopting.has(id)) return false;
    if (this.telling.has(id) || (this.notBefore.get(id) ?? 0) > this.leading.env.clock.nowMs()) return false;
    const node = this.leading.nodes.node(placement.node);
    if (node?.connected !== true) return false;
    const known = this.acknowledged.get(id);
    const wanted = this.wantedOf(record);
    const isCurrent =
      known?.index === index &&
      known.desired === wanted &&
      known.node === placement.node &&
      known.incarnation === node.record.incarnation;
    if (isCurrent) return false;
    if (wanted === VmDesired.UNMANAGED) return true;
    // What its owner may have moved meanwhile is first looked for everywhere.
    const why = elsewhere(this.leading, record, known?.desired === VmDesired.UNMANAGED);
    if (why !== undefined) this.leading.elsewhere.set(id, why);
    return why === undefined;
  }

  /** What its node is told: nothing is done about a VM while it, or everything, is left to its owner. */
  private wantedOf({ desired }: Vm): VmDesired {
    return leftAlone(this.leading) ? VmDesired.UNMANAGED : desired;
  }

  private async tell(stored: Stored<Vm>): Promise<void> {
    const { record, index } = stored;
    const { id, placement, spec, name } = record;
    if (placement === undefined) return;
    const desired = this.wantedOf(record);
    this.telling.add(id);
    this.leading.elsewhere.delete(id);
    try {
      const { client, header, incarnation } = this.leading.orders.agent(placement.node);
      const order = { vmId: id, placementEpoch: placement.epoch, migrationId: '' };
      await client.applyVm(
        { header, order, desired, spec, sequence: this.leading.orders.nextWish() },
        { deadlineMs: APPLY_DEADLINE_MS, signal: this.leading.term.ended },
      );
      this.acknowledged.set(id, { node: placement.node, desired, incarnation, index });
      this.notBefore.delete(id);
    } catch (error) {
      this.notBefore.set(id, this.leading.env.clock.nowMs() + PAUSE_AFTER_FAILURE_MS);
      this.leading.env.clock.after(PAUSE_AFTER_FAILURE_MS, () => {
        this.tellAll();
      });
      const reason = error instanceof LockstepError ? error.reason : 'INTERNAL';
      this.leading.env.log.child(`assign/${name}`).warn(`${placement.node} did not take it (${reason})`, { error });
      await this.renew(stored, error);
    } finally {
      this.telling.delete(id);
    }
    // What changed meanwhile, and what did not fit among those told at once.
    this.tellAll();
  }

  /**
   * The node gave this placement up, and what was to follow was never written: the leader that had asked for it was lost
   * in between. Nobody else may run the VM, so the node gets the right again, under a fresh epoch (INV-2, INV-3).
   */
  private async renew(stored: Stored<Vm>, error: unknown): Promise<void> {
    const { placement, name } = stored.record;
    const floor = error instanceof LockstepError && error.reason === 'STALE_PLACEMENT' ? error.metadata['floor'] : undefined;
    if (placement === undefined || floor === undefined || BigInt(floor) < placement.epoch) return;
    const epoch = (BigInt(floor) > placement.lastEpoch ? BigInt(floor) : placement.lastEpoch) + 1n;
    const log = this.leading.env.log.child(`assign/${name}`);
    try {
      await writeVm(this.leading, stored, { placement: { ...placement, epoch, lastEpoch: epoch } });
      log.info('drew a fresh placement epoch, as its node had given up the last', { node: placement.node, epoch });
    } catch (failure) {
      log.warn('no fresh placement epoch yet', { error: failure });
    }
  }
}
