// SPDX-License-Identifier: Apache-2.0
import { VmDesired, type VmFacts, type VmReport, type VmSpec } from '@lockstep/sdk/v1';
import { parseDomainXml } from '../core/domain-xml/parse.js';
import { invalidField, LockstepError } from '../core/errors/catalogue.js';
import { withDeadline } from '../platform/clock/clock.js';
import type { Domain } from '../platform/hypervisor/hypervisor.js';
import { forgetClosedPreparation } from './assign.js';
import { CALL_MS } from './config.js';
import { findCopy, isAtMost, removeStandingCopy, runs } from './copies.js';
import { isActive, runsVcpus } from './domain-states.js';
import { isIncoming } from './facts.js';
import type { FactsReader } from './facts-reader.js';
import { asLockstepError } from './hypervisor-errors.js';
import type { SourceRole } from './migration/source.js';
import type { TargetRole } from './migration/target.js';
import type { OrderedVm, Speaker } from './orders.js';
import type { AgentParts } from './parts.js';
import type { Reconciler } from './reconcile.js';
import { absentDomain, vmReport } from './reports.js';
import type { Wish } from './vm-step.js';
import { DEFAULT_MAX_RESTART, wishOf } from './wishes.js';

/** A forced stop takes a moment beyond the limit. */
const STOP_GRACE_MS = 30_000;

/** Which of its leader's wishes an order is. */
interface Told {
  leaderEpoch: bigint;
  /** 0: not counted. */
  sequence: bigint;
}

/** What a leader wants of a VM. */
interface ToldWish extends Told {
  desired: VmDesired;
  spec: VmSpec | undefined;
}

/** The orders on one VM outside of a migration's steps. Every method but `stop` runs in the VM's queue. */
export class VmOrders {
  /** Which wish each VM was told last, by this leader. An order for an earlier life of this agent is refused anyway. */
  readonly #latest = { leaderEpoch: 0n, sequences: new Map<string, bigint>() };

  constructor(
    private readonly parts: AgentParts,
    private readonly reconciler: Reconciler,
    private readonly roles: { source: SourceRole; target: TargetRole },
    private readonly facts: FactsReader,
  ) {}

  /** Notes the wish; the reconciler works towards it. */
  async apply(order: OrderedVm, told: ToldWish): Promise<VmReport> {
    const { vmId, placementEpoch, migrationId } = order;
    const { desired, spec } = told;
    const known = [VmDesired.RUNNING, VmDesired.STOPPED, VmDesired.DISABLED, VmDesired.UNMANAGED] as VmDesired[];
    if (!known.includes(desired)) throw invalidField('desired', String(desired), 'RUNNING, STOPPED, DISABLED or UNMANAGED');
    this.#refuseOvertaken(vmId, told);
    const { floor, armed, assignment } = this.parts.memory.notes(vmId);
    if (placementEpoch <= floor) throw givenUp(order, floor);
    const domain = await findCopy(this.parts.env.hypervisor, vmId).catch(() => undefined);
    if (domain?.placementEpoch !== undefined && domain.placementEpoch > placementEpoch) throw stale(order, domain);
    const wish = wishOf({ vmId, desired, placementEpoch, spec, from: 'order' });
    const size = sizeOf(wish, domain);
    const same = assignment?.desired === desired && assignment.placementEpoch === placementEpoch;
    // A wish for the very copy that came by a migration, or for a later placement, from outside of it: the migration is over.
    if (armed?.closed === false && armed.placementEpoch <= placementEpoch && migrationId === '') {
      if (domain === undefined || isIncoming(domain)) this.#refuseWhileMoving(vmId);
      await this.parts.memory.closeArmed(vmId, armed.migrationId);
      this.roles.target.forget(vmId);
    }
    if (!same || assignment.memoryBytes !== size.memoryBytes || assignment.vcpus !== size.vcpus) {
      await this.parts.memory.change(vmId, { assignment: { desired, placementEpoch, ...size } });
    }
    await this.parts.env.points('agent/apply/noted');
    this.reconciler.assign(vmId, wish);
    this.#heard(vmId, told);
    return this.report(vmId, domain);
  }

  /** Stops a copy with this placement epoch or a lower one; for a cold move that is giving it up, too. */
  async stop(
    order: OrderedVm,
    speaker: Speaker,
    { limitMs, sequence }: { limitMs: number; sequence: bigint },
    signal: AbortSignal,
  ): Promise<{ vm: VmReport; forced: boolean }> {
    const { queues, guard } = this.parts;
    const inTurn = <T>(work: () => Promise<T>): Promise<T> =>
      queues.run(order.vmId, 'StopVm', () => {
        guard.stillHighest(speaker);
        return work();
      });
    const domain = await inTurn(async () => {
      const told = { leaderEpoch: speaker.epoch, sequence };
      if (this.parts.memory.notes(order.vmId).assignment?.desired === VmDesired.RUNNING) this.#refuseOvertaken(order.vmId, told);
      const found = await this.#beginStop(order, limitMs);
      this.#heard(order.vmId, told);
      return found;
    });
    const worker = this.reconciler.worker(order.vmId);
    if (domain !== undefined && isActive(domain.state)) await this.#untilOff(order.vmId, limitMs + STOP_GRACE_MS, signal);
    const forced = worker.history.stopping?.forced ?? false;
    if (order.migrationId !== '') {
      await inTurn(() => this.giveUp(order));
    }
    return { vm: await this.#reportNow(order.vmId), forced };
  }

  async restart(order: OrderedVm, limitMs: number): Promise<{ vm: VmReport; forced: boolean }> {
    const { hypervisor } = this.parts.env;
    const domain = await findCopy(hypervisor, order.vmId);
    if (domain === undefined) throw new LockstepError('DOMAIN_NOT_FOUND', 'there is no such domain here', { vm: order.vmId });
    if (domain.placementEpoch !== order.placementEpoch) throw stale(order, domain);
    if (!runsVcpus(domain.state)) throw new LockstepError('VM_NOT_RUNNING', 'it does not run', { vm: order.vmId });
    this.#refuseWhileMoving(order.vmId);
    try {
      if (limitMs > 0) await hypervisor.reboot(order.vmId, { deadlineMs: CALL_MS.tune });
      else await hypervisor.reset(order.vmId, { deadlineMs: CALL_MS.destroy });
    } catch (error) {
      throw asLockstepError(error, 'RestartVm');
    }
    return { vm: this.report(order.vmId, domain), forced: limitMs === 0 };
  }

  async remove(order: OrderedVm): Promise<void> {
    const { env, memory } = this.parts;
    this.#refuseWhileMoving(order.vmId);
    this.#refuseOfEarlierPlacement(order);
    const domain = await findCopy(env.hypervisor, order.vmId);
    if (domain !== undefined) {
      if (!isAtMost(domain, order.placementEpoch)) throw stale(order, domain);
      if (isActive(domain.state)) throw new LockstepError('VM_RUNNING', 'it runs here', { vm: order.vmId });
    }
    await memory.change(order.vmId, { assignment: undefined });
    this.reconciler.forget(order.vmId);
    await removeStandingCopy(env.hypervisor, order.vmId, order.placementEpoch);
  }

  /** Raises the floor durably, removes what stands still at or under it, reads back. */
  async giveUp(order: OrderedVm): Promise<VmFacts> {
    const { env, memory } = this.parts;
    const { vmId, placementEpoch } = order;
    this.#refuseFromEarlierMove(order);
    const domain = await findCopy(env.hypervisor, vmId);
    if (domain !== undefined && runsVcpus(domain.state)) throw runs(vmId);
    // What its user paused is given up by a migration alone, which knows where its memory is.
    if (domain?.state.state === 'paused' && domain.state.reason === 'user' && order.migrationId === '') throw stands(vmId);
    const { armed, outgoing, assignment } = memory.notes(vmId);
    const over = assignment !== undefined && assignment.placementEpoch <= placementEpoch;
    await memory.change(vmId, { floor: placementEpoch, ...(over ? { assignment: undefined } : {}) });
    await env.points('agent/give-up/floored');
    if (over) this.reconciler.forget(vmId);
    this.roles.source.forget(vmId);
    this.roles.target.forget(vmId);
    await removeStandingCopy(env.hypervisor, vmId, placementEpoch);
    await env.points('agent/give-up/destroyed');
    const facts = await this.facts.read(order);
    if (outgoing !== undefined) await memory.closeOutgoing(vmId, outgoing.migrationId);
    if (armed?.closed === false) await memory.closeArmed(vmId, armed.migrationId);
    return facts;
  }

  /** An order from before, or of a migration that is over, may come while the next one is open: what stands here then is that one's. */
  #refuseFromEarlierMove({ vmId, migrationId, placementEpoch }: OrderedVm): void {
    const { outgoing, armed, closedMigrations } = this.parts.memory.notes(vmId);
    const leavesNow = outgoing !== undefined && outgoing.migrationId !== migrationId;
    const comesNow = armed?.closed === false && armed.placementEpoch > placementEpoch;
    if (comesNow || (leavesNow && closedMigrations.includes(migrationId))) this.#refuseWhileMoving(vmId, migrationId);
  }

  report(vmId: string, domain: Domain | undefined): VmReport {
    const { config, memory } = this.parts;
    const notes = memory.notes(vmId);
    const known = this.reconciler.knownBetter(vmId);
    const shown = domain ?? absentDomain(vmId, notes);
    return vmReport({ node: config.node, domain: shown, usage: undefined, notes, known, ageMs: 0 });
  }

  async #reportNow(vmId: string): Promise<VmReport> {
    return this.report(vmId, await findCopy(this.parts.env.hypervisor, vmId));
  }

  async #beginStop(order: OrderedVm, limitMs: number): Promise<Domain | undefined> {
    const { env, memory } = this.parts;
    const { vmId, placementEpoch, migrationId } = order;
    // It may have come by a migration that was closed without a word to this agent.
    await forgetClosedPreparation(this.parts, vmId);
    this.#refuseWhileMoving(vmId, migrationId);
    const domain = await findCopy(env.hypervisor, vmId);
    if (domain !== undefined && !isAtMost(domain, placementEpoch)) throw stale(order, domain);
    this.#refuseOfEarlierPlacement(order);
    const { assignment } = memory.notes(vmId);
    const size = { memoryBytes: domain?.maxMemoryBytes ?? 0n, vcpus: domain?.vcpus ?? 0 };
    // What it was told to have is kept, although a copy of before may still be what is defined.
    const epoch = highest(domain?.placementEpoch, assignment?.placementEpoch) ?? placementEpoch;
    await memory.change(vmId, {
      assignment: { ...size, ...assignment, desired: VmDesired.STOPPED, placementEpoch: epoch },
    });
    const before = this.reconciler.wishOf(vmId);
    const spec = { xml: before?.xml, maxRestart: before?.maxRestart ?? DEFAULT_MAX_RESTART };
    this.reconciler.assign(vmId, {
      ...spec,
      desired: VmDesired.STOPPED,
      placementEpoch: epoch,
      from: 'order',
      shutdownLimitMs: limitMs,
    });
    return domain;
  }

  /** The stop goes on where the caller leaves. */
  async #untilOff(vmId: string, limitMs: number, signal: AbortSignal): Promise<void> {
    const worker = this.reconciler.worker(vmId);
    const wait = { what: 'the stop of the VM', limitMs, signal };
    await withDeadline(this.parts.env.clock, wait, (inner) => {
      return new Promise<void>((resolve) => {
        const leave = worker.onPass(() => {
          const domain = worker.seen?.domain;
          if (domain === undefined || !isActive(domain.state)) resolve();
        });
        inner.addEventListener('abort', leave, { once: true });
        this.reconciler.kick(vmId);
      });
    });
  }

  /** What its sender gave up on may be delivered after what it said next. */
  #refuseOvertaken(vm: string, { leaderEpoch, sequence }: Told): void {
    const latest = leaderEpoch === this.#latest.leaderEpoch ? (this.#latest.sequences.get(vm) ?? 0n) : 0n;
    if (sequence === 0n || sequence >= latest) return;
    const message = `a later wish was told since (${String(latest)}, this is ${String(sequence)})`;
    throw new LockstepError('STALE_ORDER', message, { vm, got: String(sequence), want: `above ${String(latest)}` });
  }

  /** Its sender has gone on meanwhile to a later placement here, which may not be defined yet. */
  #refuseOfEarlierPlacement({ vmId, placementEpoch }: OrderedVm): void {
    const told = this.parts.memory.notes(vmId).assignment?.placementEpoch;
    if (told === undefined || told <= placementEpoch) return;
    const message = `placement epoch ${String(told)} was told since, the order is about ${String(placementEpoch)}`;
    throw new LockstepError('STALE_PLACEMENT', message, { vm: vmId, got: String(placementEpoch), want: String(told) });
  }

  #heard(vm: string, { leaderEpoch, sequence }: Told): void {
    if (leaderEpoch !== this.#latest.leaderEpoch) {
      this.#latest.leaderEpoch = leaderEpoch;
      this.#latest.sequences.clear();
    }
    const latest = this.#latest.sequences.get(vm) ?? 0n;
    if (sequence > latest) this.#latest.sequences.set(vm, sequence);
  }

  /** `but`: the migration whose own order it is. */
  #refuseWhileMoving(vmId: string, but = ''): void {
    const { outgoing, armed } = this.parts.memory.notes(vmId);
    const open = outgoing ?? (armed?.closed === false ? armed : undefined);
    if (open === undefined || open.migrationId === but) return;
    const message = `migration ${open.migrationId} of this VM is open here`;
    throw new LockstepError('VM_LOCKED', message, { vm: vmId, migration: open.migrationId });
  }
}

function stands(vmId: string): LockstepError {
  return new LockstepError('VM_RUNNING', 'its user paused it here, with its memory; it is not destroyed', { vm: vmId });
}

function sizeOf({ xml }: Wish, domain: Domain | undefined): { memoryBytes: bigint; vcpus: number } {
  if (xml === undefined) return { memoryBytes: domain?.maxMemoryBytes ?? 0n, vcpus: domain?.vcpus ?? 0 };
  const { memoryBytes, vcpus } = parseDomainXml(xml);
  return { memoryBytes, vcpus };
}

function highest(one: bigint | undefined, other: bigint | undefined): bigint | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  return one > other ? one : other;
}

export function givenUp({ vmId, placementEpoch }: OrderedVm, floor: bigint): LockstepError {
  const message = `placement epoch ${String(placementEpoch)} was given up here (floor ${String(floor)})`;
  return new LockstepError('STALE_PLACEMENT', message, { vm: vmId, got: String(placementEpoch), floor: String(floor) });
}

export function stale({ vmId, placementEpoch }: OrderedVm, domain: Domain): LockstepError {
  const has = domain.placementEpoch;
  if (has === undefined) {
    return new LockstepError('DOMAIN_NOT_OURS', 'the domain here carries no placement epoch', { vm: vmId });
  }
  const message = `the copy here has placement epoch ${String(has)}, the order is about ${String(placementEpoch)}`;
  return new LockstepError('STALE_PLACEMENT', message, { vm: vmId, got: String(placementEpoch), want: String(has) });
}
