// SPDX-License-Identifier: Apache-2.0
import { EventSeverity, FenceAction, type ReleaseStorageLocksResponse, type Vm } from '@lockstep/sdk/v1';
import { needsOf } from '../../core/domain-xml/devices.js';
import { LockstepError } from '../../core/errors/catalogue.js';
import { subjects } from '../../membership/events.js';
import type { Logger } from '../../platform/log/log.js';
import type { Leading } from '../term.js';
import type { Proof } from './proof.js';

/** Looking at the images, shutting their clients out and breaking the locks, each by a program that has to start. */
const ORDER_DEADLINE_MS = 40_000;
const PER_IMAGE_MS = 5_000;
/** Each costs its agent a process at a time, and the storage cluster's monitors a write for each client. */
const AT_ONCE = 4;
const FIRST_PAUSE_MS = 2_000;
const LONGEST_PAUSE_MS = 60_000;

/** Where the release of one VM's locks stands. It is about one proof: another one begins anew. */
interface Release {
  fenceActionId: string;
  state: 'waiting' | 'running' | 'done';
  failures: number;
  /** Not tried again before, by the monotonic clock. */
  notBeforeMs: number;
}

/**
 * Has healthy agents break the locks that a host which is proven off still holds on the disks of its VMs: on the storage
 * cluster they outlive their holder. Files need none of this: QEMU's locks on them die with the host.
 *
 * A VM goes to another node only once this is done; until then it waits with the reason, as long as it takes. What a
 * deposed leader had done is done again, which changes nothing.
 */
export class StorageLocks {
  private readonly releases = new Map<string, Release>();
  private readonly log: Logger;

  constructor(
    private readonly leading: Leading,
    /** Called when a VM can go on, or can be tried again. */
    private readonly onChange: () => void,
  ) {
    this.log = leading.env.log.child('storage-locks');
  }

  /**
   * Whether nothing of the dead host's holds this VM's disks any more. Where it is not known to be so, has that done in
   * the background: by the node that is to get the VM, and after each failure by another one.
   */
  areReleased(vm: Vm, proof: Proof, target: string): boolean {
    const images = imagesOf(vm);
    if (images.length === 0) return true;
    const known = this.releases.get(vm.id);
    const release: Release =
      known?.fenceActionId === proof.fenceActionId
        ? known
        : { fenceActionId: proof.fenceActionId, state: 'waiting', failures: 0, notBeforeMs: 0 };
    this.releases.set(vm.id, release);
    const running = [...this.releases.values()].filter(({ state }) => state === 'running').length;
    const due = release.state === 'waiting' && this.leading.env.clock.nowMs() >= release.notBeforeMs;
    if (due && running < AT_ONCE) {
      release.state = 'running';
      void this.work(vm, proof, release, this.helper(target, proof.node, release.failures));
    }
    return release.state === 'done';
  }

  /** Forgets all VMs but these. */
  keepOnly(ids: ReadonlySet<string>): void {
    for (const id of this.releases.keys()) if (!ids.has(id)) this.releases.delete(id);
    for (const id of this.leading.storageHeld.keys()) if (!ids.has(id)) this.leading.storageHeld.delete(id);
  }

  /** Never rejects. */
  private async work(vm: Vm, proof: Proof, release: Release, helper: string): Promise<void> {
    const { storageHeld, env, term, events } = this.leading;
    try {
      await releaseStorageLocks(this.leading, vm, proof, helper);
      release.state = 'done';
      storageHeld.delete(vm.id);
    } catch (error) {
      release.state = 'waiting';
      release.failures += 1;
      const pauseMs = Math.min(FIRST_PAUSE_MS * 2 ** (release.failures - 1), LONGEST_PAUSE_MS);
      release.notBeforeMs = env.clock.nowMs() + pauseMs;
      const why = heldBy(error, helper);
      if (storageHeld.get(vm.id)?.detail !== why.detail) this.log.warn(`${vm.name} waits: ${why.detail}`, { vm: vm.id });
      if (this.releases.get(vm.id) === release) storageHeld.set(vm.id, why);
      if (release.failures === 1 && !term.ended.aborted) {
        const message = `${vm.name} waits: ${why.detail}`;
        void events.emit({ severity: EventSeverity.ERROR, reason: why.reason, message, subject: subjects.vm(vm.id) });
      }
      env.clock.after(pauseMs, this.onChange);
    }
    if (!term.ended.aborted) this.onChange();
  }

  /** The node that is to get the VM first, then the others that answer, in turn. */
  private helper(target: string, dead: string, failures: number): string {
    const others = this.leading.nodes
      .nodes()
      .filter(({ name, connected, record }) => name !== target && name !== dead && connected && record.fencedBy === '')
      .map(({ name }) => name);
    const all = [target, ...others];
    return all[failures % all.length] ?? target;
  }
}

/**
 * Orders an agent to break the locks that the host of this proof holds on the VM's disks, and keeps what it did as an
 * event of the VM. Where there are none, or the VM has no such disks, nothing happens.
 */
export async function releaseStorageLocks(leading: Leading, vm: Vm, proof: Proof, helper: string): Promise<void> {
  const rbdImages = imagesOf(vm);
  if (rbdImages.length === 0) return;
  const { client, header } = leading.orders.agent(helper);
  const answer = await client.releaseStorageLocks(
    { header, node: proof.node, proof: FenceAction.create({ id: proof.fenceActionId, node: proof.node, incarnation: proof.incarnation }), rbdImages },
    { deadlineMs: ORDER_DEADLINE_MS + rbdImages.length * PER_IMAGE_MS, signal: leading.term.ended },
  );
  if (answer.blocklisted.length === 0) return;
  await leading.events.emit({
    severity: EventSeverity.WARNING,
    reason: 'STORAGE_LOCKS_RELEASED',
    message: `${vm.name}: ${toldBy(answer, helper, proof)}`,
    subject: subjects.vm(vm.id),
  });
}

function toldBy({ broken, blocklisted, osdMapEpoch }: ReleaseStorageLocksResponse, helper: string, proof: Proof): string {
  const locks = broken.map(({ image, holder, address }) => `${image} (${holder} at ${address})`).join(', ');
  return (
    `${proof.node} is proven off by ${proof.fenceActionId}; ${helper} shut out ${blocklisted.join(', ')} with OSD map ` +
    `${String(osdMapEpoch)} and broke ${locks === '' ? 'no lock' : `the locks on ${locks}`}`
  );
}

function imagesOf({ spec }: Vm): string[] {
  return spec === undefined ? [] : needsOf(spec.domainXml).rbdImages;
}

function heldBy(error: unknown, helper: string): { reason: string; detail: string } {
  const reason = error instanceof LockstepError ? error.reason : 'STORAGE_UNAVAILABLE';
  const words = error instanceof Error ? error.message : String(error);
  return {
    reason: reason === 'STORAGE_LOCKED' ? reason : 'STORAGE_UNAVAILABLE',
    detail: `the storage locks of its dead host are not released yet: ${helper}: ${words}`,
  };
}
