// SPDX-License-Identifier: Apache-2.0
import type { Refusal, TransferRequest, TransferResponse, TuneTransferRequest, VmFacts } from '@lockstep/sdk/v1';
import { withPlacementEpoch } from '../../core/domain-xml/epoch.js';
import { LockstepError } from '../../core/errors/catalogue.js';
import {
  HypervisorError,
  type Domain,
  type DomainDefinitions,
  type MemoryUse,
  type OutgoingMigration,
} from '../../platform/hypervisor/hypervisor.js';
import { withDeadline } from '../../platform/clock/clock.js';
import type { Logger } from '../../platform/log/log.js';
import { CALL_MS } from '../config.js';
import { forgetClosedPreparation } from '../assign.js';
import { findCopy, isAtMost, removeStandingCopy, runs } from '../copies.js';
import { runsVcpus } from '../domain-states.js';
import { milliseconds } from '../../core/duration.js';
import { isIncoming, type TransferKnowledge } from '../facts.js';
import { asLockstepError, refusalOf, refused } from '../hypervisor-errors.js';
import type { OrderedVm, Speaker } from '../orders.js';
import type { AgentParts } from '../parts.js';
import type { FactsReader } from '../facts-reader.js';
import { endOrphan, orphanIsActive } from './orphaned-transfer.js';
import type { CommitInput } from './commit-input.js';
import { settingsOf } from './settings.js';
import { Transfer } from './transfer.js';

/** What Prepare(source) began. */
type Begun = DomainDefinitions & { cookie: Uint8Array; paused: boolean; memoryUse: MemoryUse | undefined };

interface Outgoing {
  order: OrderedVm;
  handle: OutgoingMigration;
  begun: Begun;
  transfer: Transfer | undefined;
}

/** The answer of Prepare(source). */
export type SourceVote = { granted: true; begun: Begun } | { granted: false; refusal: Refusal };

/**
 * The node a VM leaves: begins, sends memory, and lets the old copy go or run on. The guest here is the one that counts
 * until Finish was executed on the target; only the leader knows whether it was, so nothing is resumed or destroyed
 * here without its order. Every method but `attach` and `tune` runs in the VM's queue.
 */
export class SourceRole {
  readonly #open = new Map<string, Outgoing>();
  readonly #log: Logger;

  constructor(
    private readonly parts: AgentParts,
    private readonly facts: FactsReader,
  ) {
    this.#log = parts.env.log.child('migration/source');
  }

  async prepare(order: OrderedVm, measuresMemory: boolean): Promise<SourceVote> {
    const { env, memory } = this.parts;
    const { vmId, migrationId, placementEpoch } = order;
    const open = this.#openFor(order);
    // Where the connection was lost, so was what was begun: it is begun again, as nothing was sent.
    if (open !== undefined && open.transfer === undefined && !open.handle.lost.aborted) {
      return { granted: true, begun: open.begun };
    }
    // It may have come by a migration that was closed without a word to this agent.
    await forgetClosedPreparation(this.parts, vmId);
    const refusal = this.#noteRefusal(order) ?? this.#copyRefusal(order, await findCopy(env.hypervisor, vmId));
    if (refusal !== undefined) return { granted: false, refusal };

    await memory.change(vmId, { outgoing: { migrationId, placementEpoch, transferStarted: false } });
    await env.points('agent/prepare-source/noted');
    let handle: OutgoingMigration | undefined;
    try {
      // Before Begin: its job lets nobody measure.
      const memoryUse = measuresMemory ? await this.#memoryUse(vmId) : undefined;
      handle = await env.hypervisor.openOutgoing(vmId, { deadlineMs: CALL_MS.open });
      const begun = { ...(await handle.begin({ deadlineMs: CALL_MS.begin })), memoryUse };
      this.#open.set(vmId, { order, handle, begun, transfer: undefined });
      this.#log.info('begun', { vm: vmId, migration: migrationId });
      await env.points('agent/prepare-source/begun');
      return { granted: true, begun };
    } catch (error) {
      // Nothing was sent: closing gives the job up and the guest was never stopped.
      handle?.close();
      this.#open.delete(vmId);
      await memory.closeOutgoing(vmId, migrationId);
      return { granted: false, refusal: refusalOf(error) };
    }
  }

  /** Begins to send memory, once per migration; a repeated call finds what was begun. */
  async transfer(order: OrderedVm, request: TransferRequest): Promise<Transfer> {
    const { env, memory, timing, guard } = this.parts;
    const open = this.#openFor(order);
    if (open === undefined) throw notStarted(order, 'nothing is prepared here for it');
    if (open.transfer !== undefined) return open.transfer;
    if (request.attachOnly) throw notStarted(order, 'no transfer was begun');

    await memory.change(order.vmId, {
      outgoing: { migrationId: order.migrationId, placementEpoch: order.placementEpoch, transferStarted: true },
    });
    await env.points('agent/transfer/noted');
    open.transfer = new Transfer(
      {
        clock: env.clock,
        points: env.points,
        log: this.#log,
        guard,
        progressEveryMs: timing.progressEveryMs,
        handle: open.handle,
        guestRuns: () => this.#guestRuns(order.vmId),
      },
      {
        uri: request.migrationUri,
        cookie: request.cookie,
        settings: settingsOf(request.limits),
        persistentXml: persistentXml(open.begun, request.targetPlacementEpoch),
      },
    );
    return open.transfer;
  }

  attach(transfer: Transfer, speaker: Speaker, signal: AbortSignal): AsyncGenerator<TransferResponse> {
    return transfer.attach(speaker, signal);
  }

  /** Changes a transfer that runs; beside the queue, as it must never wait for another order. */
  async tune(order: OrderedVm, request: TuneTransferRequest): Promise<void> {
    const open = this.#open.get(order.vmId);
    if (open?.order.migrationId !== order.migrationId || open.transfer?.knowledge.kind !== 'performing') {
      throw notStarted(order, 'no transfer is under way');
    }
    const call = { deadlineMs: CALL_MS.tune };
    try {
      if (request.maxDowntime !== undefined) {
        await open.handle.setMaxDowntime(milliseconds(request.maxDowntime, 0), call);
      }
      if (request.bandwidthBytesPerSecond !== undefined) {
        await open.handle.setBandwidth(request.bandwidthBytesPerSecond, call);
      }
      if (request.pause) await open.handle.pause(call);
      if (request.startPostCopy) await open.handle.startPostCopy(call);
      if (request.abort) await open.transfer.abort();
    } catch (error) {
      throw asLockstepError(error, 'TuneTransfer');
    }
  }

  /** The target runs: the old copy goes. Given up first, so that nothing here starts or resumes it any more. */
  async commit(order: OrderedVm, told: CommitInput): Promise<VmFacts> {
    const { env, memory } = this.parts;
    const { vmId, migrationId, placementEpoch } = order;
    const open = this.#openFor(order);
    const domain = await findCopy(env.hypervisor, vmId);
    if (open?.transfer?.knowledge.kind === 'performing') throw runs(vmId);
    if (domain !== undefined && isAtMost(domain, placementEpoch) && runsVcpus(domain.state)) throw runs(vmId);

    await memory.change(vmId, { floor: placementEpoch });
    await env.points('agent/commit-source/floored');
    const confirmed = open?.transfer !== undefined && (await this.#confirm(open.handle, told, vmId));
    // What is left of its memory may still be on its way, after a switch to post-copy.
    if (!confirmed && told.postCopy && (await orphanIsActive(env.hypervisor, vmId))) throw runs(vmId);
    await removeStandingCopy(env.hypervisor, vmId, placementEpoch);
    await env.points('agent/commit-source/gone');
    const facts = await this.facts.read(order);
    await memory.closeOutgoing(vmId, migrationId, { assignment: undefined });
    this.#close(order);
    this.#log.ok('the old copy is gone', { vm: vmId, migration: migrationId });
    return facts;
  }

  /** The target gave up, so the leader says: the guest runs on here. Also refuses a Prepare that is still on its way. */
  async abort(order: OrderedVm): Promise<VmFacts> {
    const { env, memory } = this.parts;
    const { vmId, migrationId } = order;
    const open = this.#openFor(order);
    try {
      // A connection that was lost takes no orders any more: what it had begun is found as an earlier life's would be.
      if (open !== undefined && !open.handle.lost.aborted) {
        await this.#cancel(open);
      } else if (memory.notes(vmId).outgoing?.migrationId === migrationId) {
        await endOrphan(env.hypervisor, env.clock, vmId);
      }
      await env.points('agent/abort-source/cancelled');
      await this.#resumeStanding(order);
    } catch (error) {
      throw asLockstepError(error, 'Abort(source)');
    }
    await env.points('agent/abort-source/resumed');
    await memory.closeOutgoing(vmId, migrationId);
    this.#close(order);
    const facts = await this.facts.read(order);
    this.#log.info('undone', { vm: vmId, migration: migrationId, found: facts.detail });
    return facts;
  }

  /** What facts may rest on; asks the hypervisor where an earlier life of this agent had begun the transfer. */
  async knowledge(vmId: string): Promise<TransferKnowledge> {
    const known = this.#open.get(vmId)?.transfer?.knowledge;
    if (known !== undefined && known.kind !== 'unknown') return known;
    if (this.parts.memory.notes(vmId).outgoing?.transferStarted !== true) return { kind: 'none' };
    try {
      return { kind: 'unknown', jobActive: await orphanIsActive(this.parts.env.hypervisor, vmId) };
    } catch (error) {
      throw asLockstepError(error, 'asking for the transfer');
    }
  }

  /** The end was told in the answer of a Seize. */
  tell(vmId: string): void {
    this.#open.get(vmId)?.transfer?.tell();
  }

  /** The copy was given up: nothing of its migration is worth keeping. */
  forget(vmId: string): void {
    this.#open.get(vmId)?.handle.close();
    this.#open.delete(vmId);
  }

  /** VMs whose memory is being sent. */
  isMoving(vmId: string): boolean {
    return this.#open.has(vmId) || this.parts.memory.notes(vmId).outgoing !== undefined;
  }

  #openFor({ vmId, migrationId }: OrderedVm): Outgoing | undefined {
    const open = this.#open.get(vmId);
    return open?.order.migrationId === migrationId ? open : undefined;
  }

  #close(order: OrderedVm): void {
    if (this.#openFor(order) !== undefined) this.forget(order.vmId);
  }

  #noteRefusal({ vmId, migrationId }: OrderedVm): Refusal | undefined {
    const { outgoing, armed, closedMigrations } = this.parts.memory.notes(vmId);
    if (closedMigrations.includes(migrationId)) return refused('PREPARATION_GONE', 'this migration was closed here');
    if (outgoing?.migrationId === migrationId) {
      return outgoing.transferStarted ? refused('PREPARATION_GONE', 'its transfer was begun before') : undefined;
    }
    const open = outgoing ?? (armed?.closed === false ? armed : undefined);
    return open === undefined ? undefined : refused('VM_LOCKED', `migration ${open.migrationId} is open here`);
  }

  #copyRefusal({ vmId, placementEpoch }: OrderedVm, domain: Domain | undefined): Refusal | undefined {
    if (domain === undefined) return refused('DOMAIN_NOT_FOUND', 'there is no such domain here');
    if (domain.placementEpoch !== placementEpoch || placementEpoch <= this.parts.memory.notes(vmId).floor) {
      const has = domain.placementEpoch === undefined ? 'none' : String(domain.placementEpoch);
      return refused('STALE_PLACEMENT', `the copy here has placement epoch ${has}, ordered is ${String(placementEpoch)}`);
    }
    if (domain.state.state === 'off') return refused('VM_NOT_RUNNING', 'it does not run here');
    return isIncoming(domain) ? refused('VM_LOCKED', 'it stands still from an earlier migration') : undefined;
  }

  /** Confirm where its job still stands; where it does not, the copy is removed by hand next. */
  async #confirm(handle: OutgoingMigration, { cookie, postCopy }: CommitInput, vmId: string): Promise<boolean> {
    try {
      await handle.confirm({ cookie }, { deadlineMs: postCopy ? CALL_MS.postCopy : CALL_MS.confirm });
      return true;
    } catch (error) {
      if (!(error instanceof HypervisorError)) throw error;
      this.#log.warn('Confirm failed; the old copy is removed by hand', { vm: vmId, error: error.message });
      return false;
    }
  }

  /** Ends the transfer if it goes on and releases the job: the guest does again what it did before. */
  async #cancel({ handle, transfer, order }: Outgoing): Promise<void> {
    try {
      if (transfer?.knowledge.kind === 'performing') {
        await transfer.abort();
        const wait = { what: 'the end of the transfer', limitMs: CALL_MS.cancel };
        await withDeadline(this.parts.env.clock, wait, () => transfer.settled);
      }
      await handle.cancel({ deadlineMs: CALL_MS.cancel });
    } catch (error) {
      // A job that is gone is what was wanted; whether the guest stands is looked at next.
      if (!(error instanceof HypervisorError) || error.kind === 'down' || error.kind === 'deadline') throw error;
      this.#log.warn('Confirm(cancelled) failed', { vm: order.vmId, error: error.message });
    }
  }

  /** A guest that a migration left standing, without a job that would let it run on. */
  async #resumeStanding({ vmId, migrationId, placementEpoch }: OrderedVm): Promise<void> {
    const { env, memory } = this.parts;
    const { floor, armed, outgoing } = memory.notes(vmId);
    // It stands for the migration that is open here: a late order of a closed one is about the same copy, not about that.
    if (outgoing !== undefined && outgoing.migrationId !== migrationId) return;
    const domain = await findCopy(env.hypervisor, vmId);
    if (domain?.placementEpoch !== placementEpoch || placementEpoch <= floor) return;
    // A guest that is being received here is never resumed, whatever migration the order names.
    if (!isIncoming(domain) || armed?.closed === false) return;
    await env.hypervisor.resume(vmId, { deadlineMs: CALL_MS.start });
  }

  /** Nothing rests on it but a forecast. */
  async #memoryUse(vmId: string): Promise<MemoryUse | undefined> {
    try {
      return await this.parts.env.hypervisor.memoryUse(vmId, { deadlineMs: CALL_MS.memoryUse });
    } catch (error) {
      this.#log.debug('its use of memory cannot be measured', { vm: vmId, error });
      return undefined;
    }
  }

  async #guestRuns(vmId: string): Promise<boolean> {
    try {
      const domain = await findCopy(this.parts.env.hypervisor, vmId);
      return domain !== undefined && runsVcpus(domain.state);
    } catch {
      return false;
    }
  }
}

/** What stays on the target carries the epoch of the copy there, not that of the copy that leaves. */
function persistentXml({ persistentXml }: Begun, targetEpoch: bigint): string {
  return targetEpoch === 0n ? persistentXml : withPlacementEpoch(persistentXml, targetEpoch);
}

function notStarted({ vmId, migrationId }: OrderedVm, why: string): LockstepError {
  return new LockstepError('TRANSFER_NOT_STARTED', `there is no transfer: ${why}`, { vm: vmId, migration: migrationId });
}
