// SPDX-License-Identifier: Apache-2.0
import type { LeaderRole, Node, VmReport, WatchNodeResponse } from '@lockstep/sdk/v1';
import { DeadlineExceeded } from '../platform/clock/clock.js';
import type { Env } from '../platform/env.js';
import type { Logger } from '../platform/log/log.js';
import { createBackOff, isAborted, type BackOff } from './back-off.js';
import type { Openings } from './openings.js';

export interface NodeStreamTimings {
  /** An agent speaks at once when it is asked; one that has not after so long is asked anew. */
  openLimitMs: number;
  /** A stream that says nothing for so long is dropped and opened anew. */
  idleLimitMs: number;
  /** Pauses before a stream is opened again. */
  retryFirstMs: number;
  retryMostMs: number;
}

/** Where an agent is reached, and by which of its lives. */
export interface AgentContact {
  address: string;
  incarnation: bigint;
}

/** What an agent last said of its node. */
export interface NodeReport {
  node: Node;
  /** By UUID of the domain. */
  vms: ReadonlyMap<string, VmReport>;
}

export interface NodeStreamOptions {
  env: Pick<Env, 'clock' | 'random' | 'peers'>;
  log: Logger;
  name: string;
  contact: AgentContact;
  role: LeaderRole;
  leaderEpoch: bigint;
  timings: NodeStreamTimings;
  /** Shared with the streams of other nodes. */
  openings: Openings;
  /** Something other than a heartbeat arrived, or the connection came or went. */
  onChange: () => void;
  /** The stream could not be opened, or broke. */
  onTrouble: (error: unknown) => void;
}

/** One node's WatchNode, kept open until it is closed. */
export class NodeStream {
  readonly #options: NodeStreamOptions;
  readonly #closing = new AbortController();
  readonly #done: Promise<void>;
  #contact: AgentContact;
  #attempt = new AbortController();
  #node: Node | undefined;
  #vms: ReadonlyMap<string, VmReport> = new Map();
  #lastMessageAtMs: number | undefined;
  #connected = false;
  #trouble = 'not asked yet';

  constructor(options: NodeStreamOptions) {
    this.#options = options;
    this.#contact = options.contact;
    this.#done = this.#keepOpen();
  }

  /** Undefined until the agent spoke. Stays as it was while the agent is silent: see the age of its last message. */
  get report(): NodeReport | undefined {
    return this.#node === undefined ? undefined : { node: this.#node, vms: this.#vms };
  }

  /** By this process's monotonic clock; undefined: it never said anything. */
  get lastMessageAtMs(): number | undefined {
    return this.#lastMessageAtMs;
  }

  get connected(): boolean {
    return this.#connected;
  }

  /** Why it is not connected; empty where it is. */
  get trouble(): string {
    return this.#trouble;
  }

  /** Opens the stream anew if the agent joined again or moved. */
  update(contact: AgentContact): void {
    const { address, incarnation } = this.#contact;
    if (contact.address === address && contact.incarnation === incarnation) return;
    this.#contact = contact;
    this.#attempt.abort(new Error('its agent joined again'));
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error('closed'));
    this.#attempt.abort(this.#closing.signal.reason);
    await this.#done;
  }

  async #keepOpen(): Promise<void> {
    const { env, timings } = this.#options;
    const backOff = createBackOff(env, { firstMs: timings.retryFirstMs, mostMs: timings.retryMostMs });
    let failedBefore = false;
    while (!isAborted(this.#closing.signal)) {
      // A contact that is news has used up this attempt's signal, so that its first try waits for nothing.
      const attempt = new AbortController();
      this.#attempt = attempt;
      const contact = this.#contact;
      try {
        await this.#read(attempt, backOff, failedBefore);
        failedBefore = false;
        this.#lose('the agent ended the stream');
      } catch (error) {
        if (isAborted(this.#closing.signal)) break;
        // One that spoke, or joined anew, is there as far as anybody knows.
        failedBefore = !this.#connected && this.#contact === contact;
        const reason: unknown = attempt.signal.aborted ? attempt.signal.reason : error;
        this.#lose(reason instanceof Error ? reason.message : String(reason));
        this.#options.onTrouble(reason);
      }
      await backOff.pause(attempt.signal);
    }
    this.#connected = false;
  }

  async #read(attempt: AbortController, backOff: BackOff, failedBefore: boolean): Promise<void> {
    const { env, role, leaderEpoch, timings, name, openings } = this.#options;
    const { address, incarnation } = this.#contact;
    if (address === '') throw new Error('its record has no address');
    const header = { leaderRole: role, leaderEpoch, incarnation };
    const watchSilence = (limitMs: number) =>
      env.clock.after(limitMs, () => {
        attempt.abort(new DeadlineExceeded(`stream of ${name}`, limitMs));
      });

    const leave = await openings.enter(attempt.signal, failedBefore);
    const openedAtMs = env.clock.nowMs();
    let silence = watchSilence(timings.openLimitMs);
    try {
      for await (const message of env.peers.agent(address).watchNode({ header }, { signal: attempt.signal })) {
        attempt.signal.throwIfAborted();
        leave();
        silence.stop();
        silence = watchSilence(timings.idleLimitMs);
        this.#take(message);
        if (env.clock.nowMs() - openedAtMs >= timings.retryMostMs) backOff.reset();
      }
    } finally {
      silence.stop();
      leave();
    }
  }

  #take(message: WatchNodeResponse): void {
    const movesVms = message.vmsComplete || message.vms.length > 0 || message.vmsGone.length > 0;
    const isNews = movesVms || message.node !== undefined || !this.#connected;
    this.#connected = true;
    this.#trouble = '';
    this.#lastMessageAtMs = this.#options.env.clock.nowMs();
    if (message.node !== undefined) this.#node = message.node;
    if (movesVms) {
      const vms = new Map(message.vmsComplete ? [] : this.#vms);
      for (const vm of message.vms) vms.set(vm.vmId, vm);
      for (const id of message.vmsGone) vms.delete(id);
      this.#vms = vms;
    }
    if (isNews) this.#options.onChange();
  }

  #lose(why: string): void {
    const { log, onChange, name } = this.#options;
    if (this.#connected) log.warn('its stream broke', { node: name, why });
    else if (this.#trouble !== why) log.warn('its stream cannot be opened', { node: name, why });
    this.#connected = false;
    this.#trouble = why;
    onChange();
  }
}
