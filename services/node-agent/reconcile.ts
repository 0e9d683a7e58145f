// SPDX-License-Identifier: Apache-2.0
import { VmDesired, VmState } from '@lockstep/sdk/v1';
import { keys } from '../core/records/keys.js';
import { vmCodec } from '../core/records/codec.js';
import type { Timer } from '../platform/clock/clock.js';
import { HypervisorError } from '../platform/hypervisor/hypervisor.js';
import type { Logger } from '../platform/log/log.js';
import { CALL_MS } from './config.js';
import { reasonOf } from './hypervisor-errors.js';
import { readLeftAlone } from './joining.js';
import type { AgentParts } from './parts.js';
import { nextStep, type Step, type StepInput, type Wish } from './vm-step.js';
import { VmWorker, type KnownBetter } from './vm-worker.js';

/** Far more steps than any way from one state to another has. */
const STEPS_PER_PASS = 16;

/**
 * Drives every VM of this node towards what it shall be, by level: each pass looks at all of it, so a wish that changes
 * on the way is simply what the next look finds. One worker per VM; its steps take turns with the orders on that VM.
 */
export class Reconciler {
  readonly #workers = new Map<string, VmWorker>();
  readonly #timers = new Map<string, Timer>();
  readonly #log: Logger;
  #superseded: ReadonlyMap<string, bigint> = new Map();
  #startsHeldUntilMs = 0;
  /** The host goes down. */
  leaving: StepInput['leaving'] = 'no';

  constructor(
    private readonly parts: AgentParts,
    /** Told when something that reports show has changed. */
    private readonly onChange: () => void,
  ) {
    this.#log = parts.env.log.child('reconcile');
  }

  /** Starts nothing for a while: a leader is about to switch this host off. */
  holdStarts(forMs: number): void {
    this.#startsHeldUntilMs = this.parts.env.clock.nowMs() + forMs;
  }

  wishOf(vmId: string): Wish | undefined {
    return this.#workers.get(vmId)?.wish;
  }

  knownBetter(vmId: string): KnownBetter | undefined {
    return this.#workers.get(vmId)?.known;
  }

  /** VMs that shall run here and have failed to, with the placement epoch of the wish. */
  failing(): { vmId: string; placementEpoch: bigint }[] {
    return [...this.#workers.values()].flatMap(({ vmId, wish, known }) =>
      wish?.desired === VmDesired.RUNNING && known?.state === VmState.ERROR
        ? [{ vmId, placementEpoch: wish.placementEpoch }]
        : [],
    );
  }

  worker(vmId: string): VmWorker {
    let worker = this.#workers.get(vmId);
    if (worker === undefined) {
      worker = new VmWorker(vmId, this.parts.timing);
      this.#workers.set(vmId, worker);
    }
    return worker;
  }

  assign(vmId: string, wish: Wish): void {
    this.worker(vmId).assign(wish);
    this.kick(vmId);
  }

  /** VMs that the records place elsewhere, with their placement epochs. */
  supersede(elsewhere: ReadonlyMap<string, bigint>): void {
    this.#superseded = elsewhere;
  }

  /** Nothing is wanted of this VM here any more. */
  forget(vmId: string): void {
    const worker = this.#workers.get(vmId);
    if (worker === undefined) return;
    worker.wish = undefined;
    worker.known = undefined;
    worker.passed();
    this.#timers.get(vmId)?.stop();
    this.#timers.delete(vmId);
    this.#workers.delete(vmId);
    this.onChange();
  }

  /** Looks at every VM that is wanted here, and at those `present` of which something is noted. */
  kickAll(present: Iterable<string>): void {
    const { memory } = this.parts;
    const wanted = [...this.#workers.values()].filter(({ wish }) => wish !== undefined).map(({ vmId }) => vmId);
    const noted = [...present].filter((vmId) => memory.notes(vmId).floor > 0n || this.#superseded.has(vmId));
    for (const vmId of new Set([...wanted, ...noted])) this.kick(vmId);
  }

  /** An event: only where something is known or wanted of the VM. */
  kickKnown(vmId: string): void {
    if (this.#workers.has(vmId) || this.#superseded.has(vmId) || this.parts.memory.notes(vmId).floor > 0n) this.kick(vmId);
  }

  kick(vmId: string): void {
    if (this.parts.stopped.aborted) return;
    const worker = this.worker(vmId);
    worker.dirty = true;
    if (!worker.busy) void this.#drive(worker);
  }

  /** Never rejects: what fails is shown, and tried again at the next tick. */
  async #drive(worker: VmWorker): Promise<void> {
    worker.busy = true;
    this.#timers.get(worker.vmId)?.stop();
    try {
      for (let count = 0; worker.dirty && count < STEPS_PER_PASS && !this.parts.stopped.aborted; count++) {
        worker.dirty = false;
        await this.#pass(worker);
      }
    } catch (error) {
      this.#log.warn('a pass failed; it is tried again', { vm: worker.vmId, error });
    } finally {
      worker.busy = false;
      worker.passed();
      this.#drop(worker);
      this.onChange();
    }
  }

  /** A VM that left this node for good is not remembered for good: its wish is over once its epoch was given up and nothing is left. */
  #drop(worker: VmWorker): void {
    const { floor, outgoing, armed } = this.parts.memory.notes(worker.vmId);
    const isOpen = outgoing !== undefined || armed?.closed === false;
    const isGone = worker.seen !== undefined && worker.seen.domain === undefined;
    if (worker.wish !== undefined && worker.wish.placementEpoch <= floor && isGone && !isOpen) {
      worker.wish = undefined;
      worker.known = undefined;
    }
    if (!worker.idle || this.#workers.get(worker.vmId) !== worker) return;
    this.#workers.delete(worker.vmId);
    this.#timers.get(worker.vmId)?.stop();
    this.#timers.delete(worker.vmId);
  }

  async #pass(worker: VmWorker): Promise<void> {
    const { env, queues } = this.parts;
    const step = await queues.run(worker.vmId, 'reconcile', () => this.#step(worker, false));
    if (step?.do !== 'start' || !step.ownAccord) return;
    // No order asks for this start: the record must, read now. Whoever passes the right to run on from here on
    // raises the floor first, which the next look sees.
    const refusal = await this.#entitlement(worker);
    if (refusal !== undefined) {
      worker.known = refusal;
      return;
    }
    await env.points('agent/reconcile/entitled');
    await queues.run(worker.vmId, 'reconcile', () => this.#step(worker, true));
  }

  /** Looks, and does one step. A start of the agent's own accord is only handed back, unless it was found `entitled`. */
  async #step(worker: VmWorker, entitled: boolean): Promise<Step | undefined> {
    const { env, memory } = this.parts;
    const nowMs = env.clock.nowMs();
    let domain;
    try {
      domain = await env.hypervisor.find(worker.vmId, { deadlineMs: CALL_MS.read, signal: this.parts.stopped });
    } catch (error) {
      if (!(error instanceof HypervisorError)) throw error;
      worker.known = { state: undefined, reason: 'HYPERVISOR_DOWN', detail: error.message };
      return undefined;
    }
    worker.observe(domain, nowMs);
    const notes = memory.notes(worker.vmId);
    const { wish, history } = worker;
    const supersededBy = this.#superseded.get(worker.vmId);
    const { leaving } = this;
    const step = nextStep({ domain, wish, notes, history, supersededBy, leaving, nowMs });
    if (step.do === 'start' && nowMs < this.#startsHeldUntilMs) {
      worker.known = { state: VmState.STOPPED, reason: 'FENCE_REQUESTED', detail: 'its host is about to be switched off' };
      this.#kickAt(worker.vmId, this.#startsHeldUntilMs - nowMs);
      return undefined;
    }
    if (step.do === 'start' && step.ownAccord && !entitled) return step;
    await this.#take(worker, step, nowMs);
    worker.passed();
    return step;
  }

  async #take(worker: VmWorker, step: Step, nowMs: number): Promise<void> {
    const { env } = this.parts;
    const { vmId, history } = worker;
    if (step.do === 'rest' || step.do === 'wait' || step.do === 'held') {
      worker.known = step.do === 'held' ? heldAs(step) : this.#waitingAs(worker, step);
      if (step.do === 'wait') this.#kickAt(vmId, step.untilMs - nowMs);
      return;
    }
    await env.points(`agent/reconcile/${step.do}`);
    this.#log.info(step.do, { vm: vmId });
    // Whatever came of it, the next look shows.
    worker.dirty = true;
    try {
      await this.#act(worker, step, nowMs);
      if (worker.known?.state !== VmState.STARTING) worker.known = undefined;
    } catch (error) {
      if (!(error instanceof HypervisorError)) throw error;
      this.#log.warn(`${step.do} failed`, { vm: vmId, error: error.message });
      const locked = step.do === 'start' && error.kind === 'locked';
      const detail = `${step.do}: ${error.message}`;
      worker.known = { state: locked ? VmState.STARTING : VmState.ERROR, reason: reasonOf(error), detail };
      worker.dirty = false;
      const tried = step.do === 'start' || (step.do === 'define' && worker.wish?.desired === VmDesired.RUNNING);
      if (locked) worker.postponeLocked(nowMs);
      else if (tried && error.kind !== 'down') worker.countFailure(nowMs, detail);
      if (tried) this.#kickAt(vmId, Math.max(0, history.notBeforeMs - nowMs));
    }
  }

  async #act(worker: VmWorker, step: Exclude<Step, { do: 'rest' | 'wait' | 'held' }>, nowMs: number): Promise<void> {
    const { hypervisor } = this.parts.env;
    const { vmId, history } = worker;
    switch (step.do) {
      case 'define':
        await hypervisor.define(step.xml, { deadlineMs: CALL_MS.define });
        history.definedXml = step.xml;
        return;
      case 'stamp':
        return hypervisor.stampEpoch(vmId, step.placementEpoch, { deadlineMs: CALL_MS.define });
      case 'start':
        worker.known = { state: VmState.STARTING, reason: '', detail: 'being started' };
        this.onChange();
        await hypervisor.start(vmId, { deadlineMs: CALL_MS.start });
        worker.started(this.parts.env.clock.nowMs());
        worker.known = undefined;
        return;
      case 'ask-shutdown': {
        const { sinceMs = nowMs, forced = false } = history.stopping ?? {};
        history.stopping = { sinceMs, askedMs: nowMs, forced };
        return hypervisor.shutdown(vmId, { deadlineMs: CALL_MS.tune });
      }
      case 'destroy':
        history.stopping = { sinceMs: nowMs, askedMs: nowMs, ...history.stopping, forced: true };
        return hypervisor.destroy(vmId, { deadlineMs: CALL_MS.destroy });
      case 'undefine':
        return hypervisor.undefine(vmId, { deadlineMs: CALL_MS.define });
      case 'surrender':
        await this.parts.memory.change(vmId, { floor: step.upToEpoch, assignment: undefined });
        await hypervisor.destroy(vmId, { deadlineMs: CALL_MS.destroy });
        return hypervisor.undefine(vmId, { deadlineMs: CALL_MS.define });
    }
  }

  #waitingAs({ history, known }: VmWorker, step: Step): KnownBetter | undefined {
    if (history.stopping !== undefined && step.do === 'wait') {
      return { state: VmState.STOPPING, reason: '', detail: 'asked to shut down' };
    }
    if (step.do !== 'wait') return undefined;
    // It never ran: why it did not start says more than that it does not run.
    if (known?.state === VmState.ERROR || known?.reason === 'STORAGE_LOCKED') return known;
    return { state: VmState.CRASHED, reason: 'GUEST_LOST', detail: 'ended by itself; it is started again soon' };
  }

  /** Why this node may not start the VM by itself; undefined: it may. */
  async #entitlement({ vmId, wish }: VmWorker): Promise<KnownBetter | undefined> {
    const { store } = this.parts.env;
    const no = (reason: string, detail: string): KnownBetter => ({ state: undefined, reason, detail });
    try {
      const entry = await store.get(keys.vm(vmId), { consistency: 'consistent', signal: this.parts.stopped });
      if (entry === undefined) return no('VM_NOT_FOUND', 'its record does not exist');
      const { placement, desired } = vmCodec.decode(entry.value, entry.index);
      const isLeft = desired === VmDesired.UNMANAGED || (await readLeftAlone(store, this.parts.stopped));
      if (isLeft) return no('UNMANAGED', 'it is left to its owner');
      if (placement?.node !== this.parts.config.node || placement.epoch !== wish?.placementEpoch) {
        return no('STALE_PLACEMENT', 'its record does not name this node with this placement epoch');
      }
      return placement.migrationId === '' ? undefined : no('VM_LOCKED', 'a migration of this VM is open');
    } catch (error) {
      const detail = error instanceof Error ? error.message : String(error);
      return no('STORE_UNAVAILABLE', `its record cannot be read: ${detail}`);
    }
  }

  #kickAt(vmId: string, delayMs: number): void {
    this.#timers.get(vmId)?.stop();
    const timer = this.parts.env.clock.after(delayMs, () => {
      this.kick(vmId);
    });
    this.#timers.set(vmId, timer);
  }

  stop(): void {
    for (const timer of this.#timers.values()) timer.stop();
    this.#timers.clear();
  }
}

function heldAs({ reason, detail }: Step & { do: 'held' }): KnownBetter {
  const state = reason === 'RESTARTS_EXHAUSTED' ? VmState.ERROR : undefined;
  return { state, reason: reason === 'VM_LOCKED' ? '' : reason, detail };
}

