// SPDX-License-Identifier: Apache-2.0
import type { CommitResponse, PrepareRequest, Refusal, VmFacts } from '@lockstep/sdk/v1';
import { withPlacementEpoch } from '../../core/domain-xml/epoch.js';
import { parseDomainXml } from '../../core/domain-xml/parse.js';
import type { MemorySize } from '../../core/placement/hugepages.js';
import { LockstepError } from '../../core/errors/catalogue.js';
import { HypervisorError, type IncomingMigration, type TransferStats } from '../../platform/hypervisor/hypervisor.js';
import type { Logger } from '../../platform/log/log.js';
import { CALL_MS } from '../config.js';
import { findCopy, isAtMost, removeStandingCopy } from '../copies.js';
import { isActive } from '../domain-states.js';
import { isIncoming } from '../facts.js';
import type { FactsReader } from '../facts-reader.js';
import { asLockstepError, refusalOf, refused } from '../hypervisor-errors.js';
import type { OrderedVm } from '../orders.js';
import { forgetClosedPreparation } from '../assign.js';
import type { AgentParts } from '../parts.js';
import { outcomeOf } from './outcome.js';
import type { CommitInput } from './commit-input.js';
import { settingsOf } from './settings.js';
import { VoteTtl } from './vote-ttl.js';

interface Vote {
  uri: string;
  cookie: Uint8Array;
}

interface Incoming {
  order: OrderedVm;
  handle: IncomingMigration;
  vote: Vote;
  ttl: VoteTtl;
  finished: { cookie: Uint8Array; stats: TransferStats } | undefined;
}

/** The answer of Prepare(target). */
export type TargetVote = ({ granted: true } & Vote) | { granted: false; refusals: Refusal[] };

/** What a target's vote rests on beside the hypervisor. */
export interface RoomCheck {
  /** Why the guest does not fit; undefined: it does. */
  refusal(need: MemorySize): Promise<string | undefined>;
  /** Why the guest cannot have its interfaces here; undefined: it can. */
  bridgesRefusal(domainXml: string): Promise<string | undefined>;
  /** Whether votes whose time is over are kept, because a leader is there to end them. */
  keepsVotes(): boolean;
}

/**
 * The node a VM moves to, and the arbiter: Finish executed here means forward, a durable floor here with "never ran"
 * means back. At most one incoming guest is ever built per migration. Every method runs in the VM's queue.
 */
export class TargetRole {
  readonly #open = new Map<string, Incoming>();
  readonly #log: Logger;

  constructor(
    private readonly parts: AgentParts,
    private readonly facts: FactsReader,
    private readonly room: RoomCheck,
  ) {
    this.#log = parts.env.log.child('migration/target');
  }

  async prepare(order: OrderedVm, request: PrepareRequest): Promise<TargetVote> {
    const { env, memory } = this.parts;
    const { vmId, migrationId, placementEpoch } = order;
    const first = this.#openFor(order);
    if (first !== undefined && first.finished === undefined) return { granted: true, ...first.vote };
    const refusals = await this.#refusals(order, request);
    if (refusals.length > 0) return { granted: false, refusals };

    const { memoryBytes, vcpus } = parseDomainXml(request.domainXml);
    const { bootId } = memory;
    await memory.forgetFinishing(vmId);
    await memory.change(vmId, { armed: { migrationId, placementEpoch, bootId, memoryBytes, vcpus, closed: false } });
    await env.points('agent/prepare-target/armed');
    try {
      const vote = await this.#build(order, request);
      this.#log.info('prepared', { vm: vmId, migration: migrationId });
      await env.points('agent/prepare-target/built');
      return { granted: true, ...vote };
    } catch (error) {
      await this.#undo(order);
      return { granted: false, refusals: [refusalOf(error)] };
    }
  }

  /** Prolongs the vote; fails with PREPARATION_GONE where it has lapsed. */
  renew(order: OrderedVm): number {
    const open = this.#openFor(order);
    if (open === undefined) throw gone(order, 'nothing is prepared here for it');
    open.ttl.renew();
    return this.parts.timing.prepareTtlMs;
  }

  /**
   * The commit point. The guest stands still meanwhile: nothing is written but the plain mark, nothing is looked up,
   * and only the hypervisor is waited for.
   */
  async commit(order: OrderedVm, told: CommitInput): Promise<CommitResponse> {
    const { memory } = this.parts;
    const { vmId, migrationId, placementEpoch } = order;
    if (placementEpoch <= memory.notes(vmId).floor) throw gone(order, 'its placement epoch was given up here');
    const open = this.#openFor(order);
    if (open === undefined) return this.#commitWithoutPreparation(order, told);
    if (open.finished === undefined) {
      open.ttl.stop();
      await memory.markFinishing(vmId, migrationId);
      await this.parts.env.points('agent/commit-target/finishing');
      await this.#finish(open, told);
      await this.parts.env.points('agent/commit-target/finished');
    }
    return this.#committed(order, open.finished);
  }

  /** Gives up, durably, then destroys, then says what it finds. A guest that runs is never touched. */
  async abort(order: OrderedVm): Promise<VmFacts> {
    const { env, memory } = this.parts;
    const { vmId, migrationId, placementEpoch } = order;
    const domain = await findCopy(env.hypervisor, vmId);
    if (domain !== undefined && isActive(domain.state) && !isIncoming(domain)) return this.facts.read(order);
    await memory.change(vmId, { floor: placementEpoch });
    await env.points('agent/abort-target/floored');
    await this.#destroy(order);
    await env.points('agent/abort-target/destroyed');
    const facts = await this.facts.read(order);
    await memory.closeArmed(vmId, migrationId, { assignment: undefined });
    this.#log.info('gave up', { vm: vmId, migration: migrationId, found: facts.detail });
    return facts;
  }

  /** A leader looks after the VM: the vote holds for as long as from its beginning. */
  heard(vmId: string): void {
    const open = this.#open.get(vmId);
    if (open?.finished === undefined) open?.ttl.renew();
  }

  /** The copy was given up by another order: nothing of its migration is worth keeping. */
  forget(vmId: string): void {
    const open = this.#open.get(vmId);
    open?.ttl.stop();
    open?.handle.close();
    this.#open.delete(vmId);
  }

  #openFor({ vmId, migrationId }: OrderedVm): Incoming | undefined {
    const open = this.#open.get(vmId);
    if (open?.order.migrationId !== migrationId) return undefined;
    if (open.finished !== undefined || !open.handle.lost.aborted) return open;
    // What was prepared does not outlive its connection; only the domain tells what is left.
    this.forget(vmId);
    return undefined;
  }

  async #refusals(order: OrderedVm, request: PrepareRequest): Promise<Refusal[]> {
    const { armed } = this.parts.memory.notes(order.vmId);
    if (armed?.migrationId !== order.migrationId) await forgetClosedPreparation(this.parts, order.vmId);
    const noted = this.#noteRefusal(order);
    if (noted !== undefined) return [noted];
    const { hypervisor } = this.parts.env;
    // Asked together: each is a way to libvirtd or the kernel and back, and the guest's move waits for all of them.
    const [domain, shortage, unconnected, unfit] = await Promise.all([
      findCopy(hypervisor, order.vmId),
      this.room.refusal(parseDomainXml(request.domainXml)),
      this.room.bridgesRefusal(request.domainXml),
      hypervisor.checkFit(request.domainXml, { deadlineMs: CALL_MS.prepare }).then(() => undefined, refusalOf),
    ]);
    if (domain !== undefined && isActive(domain.state)) return [refused('SAME_NODE', 'the VM is on this node already')];
    if (domain !== undefined && !isAtMost(domain, order.placementEpoch)) {
      return [refused('DOMAIN_NOT_OURS', 'a domain with this UUID is defined here that is not ours to replace')];
    }
    const refusals: Refusal[] = [];
    if (shortage !== undefined) refusals.push(refused('NO_FIT', shortage));
    if (unconnected !== undefined) refusals.push(refused('BRIDGE_MISSING', unconnected));
    if (unfit !== undefined) refusals.push(unfit);
    return refusals;
  }

  #noteRefusal({ vmId, migrationId, placementEpoch }: OrderedVm): Refusal | undefined {
    const { floor, armed, outgoing } = this.parts.memory.notes(vmId);
    if (outgoing?.migrationId === migrationId) return refused('SAME_NODE', 'this node is the source of this migration');
    if (placementEpoch <= floor) return refused('PREPARATION_GONE', 'its placement epoch was given up here');
    if (armed?.migrationId === migrationId) return refused('PREPARATION_GONE', 'it was prepared here before');
    const open = outgoing ?? (armed?.closed === false ? armed : undefined);
    return open === undefined ? undefined : refused('VM_LOCKED', `migration ${open.migrationId} is open here`);
  }

  /** The placement epoch goes into both definitions: libvirt would otherwise keep the source's, with the old one. */
  async #build(order: OrderedVm, request: PrepareRequest): Promise<Vote> {
    const { env, timing } = this.parts;
    const { vmId, placementEpoch } = order;
    // What stands here is an older definition; the incoming guest brings its own.
    await removeStandingCopy(env.hypervisor, vmId, placementEpoch);
    const handle = await env.hypervisor.openIncoming(vmId, { deadlineMs: CALL_MS.open });
    try {
      const vote = await handle.prepare(
        {
          liveXml: withPlacementEpoch(request.domainXml, placementEpoch),
          persistentXml: withPlacementEpoch(request.persistentXml, placementEpoch),
          cookie: request.cookie,
          paused: request.paused,
          settings: settingsOf(request.limits),
        },
        { deadlineMs: CALL_MS.prepare },
      );
      const ttl = new VoteTtl(env.clock, timing.prepareTtlMs, () => {
        this.#lapse(order);
      });
      this.#open.set(vmId, { order, handle, vote, ttl, finished: undefined });
      return vote;
    } catch (error) {
      // The surest undo: what this connection prepared does not outlive it.
      handle.close();
      throw error;
    }
  }

  /** After a vote that could not be given: nothing is left, and a repeated Prepare is refused by the closed note. */
  async #undo(order: OrderedVm): Promise<void> {
    try {
      await this.#destroy(order);
    } catch (error) {
      this.#log.warn('the failed preparation is not undone yet; Abort tries again', { vm: order.vmId, error });
    }
    await this.parts.memory.closeArmed(order.vmId, order.migrationId);
  }

  async #finish(open: Incoming, { cookie, postCopy }: CommitInput): Promise<void> {
    try {
      open.finished = await open.handle.finish({ cookie }, { deadlineMs: postCopy ? CALL_MS.postCopy : CALL_MS.finish });
    } catch (error) {
      // Whether it was executed is not known from the error: the domain tells, if it can be asked.
      const facts = await this.facts.read(open.order);
      if (facts.placementEpoch === open.order.placementEpoch && facts.running) return;
      this.#log.error('Finish failed', { vm: open.order.vmId, error, found: facts.detail });
      if (error instanceof HypervisorError && error.kind === 'gone') throw gone(open.order, error.message);
      throw asLockstepError(error, 'Finish');
    }
  }

  /** A repeated Commit after a restart of this agent finds the guest running, or waiting without its connection. */
  async #commitWithoutPreparation(order: OrderedVm, { cookie, postCopy }: CommitInput): Promise<CommitResponse> {
    const { env, memory } = this.parts;
    const domain = await findCopy(env.hypervisor, order.vmId);
    if (domain?.placementEpoch !== order.placementEpoch || !isActive(domain.state)) {
      throw gone(order, 'nothing is prepared here for it');
    }
    if (!isIncoming(domain)) return this.#committed(order, undefined);
    const handle = await env.hypervisor.openIncoming(order.vmId, { deadlineMs: CALL_MS.open });
    try {
      await memory.markFinishing(order.vmId, order.migrationId);
      const finished = await handle.finish({ cookie }, { deadlineMs: postCopy ? CALL_MS.postCopy : CALL_MS.finish });
      return await this.#committed(order, finished);
    } catch (error) {
      throw asLockstepError(error, 'Finish');
    } finally {
      handle.close();
    }
  }

  async #committed(order: OrderedVm, finished: Incoming['finished']): Promise<CommitResponse> {
    const facts = await this.facts.read(order);
    this.#open.get(order.vmId)?.ttl.stop();
    return {
      cookie: Buffer.from(finished?.cookie ?? new Uint8Array()),
      facts,
      outcome: finished === undefined ? undefined : outcomeOf(finished.stats),
    };
  }

  async #destroy(order: OrderedVm): Promise<void> {
    const { hypervisor } = this.parts.env;
    const open = this.#openFor(order);
    open?.ttl.stop();
    try {
      await open?.handle.cancel({ deadlineMs: CALL_MS.cancel });
    } catch (error) {
      this.#log.warn('Finish(cancelled) failed; the guest is destroyed', { vm: order.vmId, error });
    }
    if (open !== undefined) this.forget(order.vmId);
    await removeStandingCopy(hypervisor, order.vmId, order.placementEpoch);
  }

  /** Nobody renewed the vote: where no leader is there either, this end gives up by itself. */
  #lapse(order: OrderedVm): void {
    const { queues } = this.parts;
    const lapse = async (): Promise<void> => {
      const open = this.#openFor(order);
      if (open === undefined || !open.ttl.lapsed || open.finished !== undefined) return;
      if (this.parts.memory.isFinishing(order.vmId, order.migrationId)) return;
      if (this.room.keepsVotes()) {
        open.ttl.renew();
        return;
      }
      this.#log.warn('the vote lapsed: no leader renewed it', { vm: order.vmId, migration: order.migrationId });
      await this.abort(order);
    };
    queues.run(order.vmId, 'lapse', lapse).catch((error: unknown) => {
      this.#log.warn('the lapsed vote is not undone yet; it is tried again', { vm: order.vmId, error });
      this.#openFor(order)?.ttl.renew();
    });
  }
}

function gone({ vmId, migrationId }: OrderedVm, why: string): LockstepError {
  return new LockstepError('PREPARATION_GONE', `the preparation is gone: ${why}`, { vm: vmId, migration: migrationId });
}
