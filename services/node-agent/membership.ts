// SPDX-License-Identifier: Apache-2.0
import { nodeCodec } from '../core/records/codec.js';
import { keys } from '../core/records/keys.js';
import { Cancelled, sleep } from '../platform/clock/clock.js';
import { HypervisorError } from '../platform/hypervisor/hypervisor.js';
import type { Logger } from '../platform/log/log.js';
import type { Lease } from '../platform/store/store.js';
import type { DurableMemory } from './durable-memory.js';
import type { AgentConfig, AgentTiming } from './config.js';
import type { AgentEnv } from '../platform/env.js';
import type { Holding } from './fencing/self-fence.js';
import { IdentityMismatch, join, type Joined } from './joining.js';

interface MembershipParts {
  env: AgentEnv;
  config: AgentConfig;
  timing: AgentTiming;
  memory: DurableMemory;
  stopped: AbortSignal;
  /** Joined, for the first time or again. */
  onJoined: (joined: Joined) => Promise<void>;
  /** Where the agent stands with the cluster has changed. */
  onChange: () => void;
  /** Told with every renewal of the lease how much later than planned it is sent. */
  onRenewal: (latenessMs: number) => void;
}

/**
 * The agent's place in the cluster: joins, then holds the lease on `alive/NODE`, and takes it again whenever it is lost.
 * Losing it touches no VM.
 */
export class Membership {
  incarnation: bigint | undefined;
  hostUuid = '';
  notJoined = 'it is joining';
  storeLost = 'the lease is not held yet';
  #lease: Lease | undefined;
  readonly #log: Logger;

  constructor(private readonly parts: MembershipParts) {
    this.#log = parts.env.log.child('membership');
    this.hostUuid = parts.config.hostUuid ?? '';
  }

  /** Runs until the agent stops. Rejects with IdentityMismatch where this host must not use its name. */
  async run(): Promise<void> {
    try {
      await this.#joinUntilDone();
      for (;;) {
        await this.#holdLease();
        if (await this.#wasFenced()) await this.#joinUntilDone();
      }
    } catch (error) {
      if (!(error instanceof Cancelled)) throw error;
    }
  }

  /** When the lease was last renewed, and whether it is held now. */
  holding(): Holding {
    const isHeld = this.#lease !== undefined && this.storeLost === '' && !this.#lease.lost.aborted;
    return { incarnation: this.incarnation, renewedAtMs: this.#lease?.renewedAtMs(), isHeld };
  }

  /** Frees the lease at once, so that nobody waits for its end. */
  async leave(): Promise<void> {
    await this.#lease?.release();
  }

  async #joinUntilDone(): Promise<void> {
    const { env, config, memory, timing, stopped, onJoined, onChange } = this.parts;
    for (let tries = 1; ; tries++) {
      try {
        const host = await this.#host();
        const hostUuid = config.hostUuid ?? host?.hostUuid;
        if (hostUuid !== undefined) this.hostUuid = hostUuid;
        const hypervisorVersion = host?.version ?? '';
        const hostAddresses = env.host.addresses();
        const joined = await join({ store: env.store, config, memory, hostUuid, hypervisorVersion, hostAddresses });
        await env.points('agent/joined');
        await onJoined(joined);
        this.incarnation = joined.incarnation;
        this.notJoined = '';
        this.#log.ok('joined', { incarnation: joined.incarnation });
        onChange();
        return;
      } catch (error) {
        if (error instanceof IdentityMismatch || error instanceof Cancelled) throw error;
        this.notJoined = error instanceof Error ? error.message : String(error);
        this.#log.warn('cannot join yet', { why: this.notJoined, tries });
        onChange();
        await sleep(env.clock, Math.min(timing.joinRetryMs, 500 * 2 ** Math.min(tries, 10)), stopped);
      }
    }
  }

  /** UUID and version; undefined while the hypervisor does not answer. */
  async #host(): Promise<{ hostUuid: string; version: string } | undefined> {
    const { env, timing, stopped } = this.parts;
    try {
      return await env.hypervisor.info({ deadlineMs: timing.collectorLimitMs, signal: stopped });
    } catch (error) {
      if (error instanceof HypervisorError) return undefined;
      throw error;
    }
  }

  /** Takes the lease and returns when it is lost. */
  async #holdLease(): Promise<void> {
    const { env, config, timing, stopped, onChange, onRenewal } = this.parts;
    for (let tries = 1; ; tries++) {
      try {
        this.#lease = await env.store.acquire({
          key: keys.alive(config.node),
          value: () => JSON.stringify({ node: config.node, incarnation: String(this.incarnation ?? 0n) }),
          name: `lockstep node agent ${config.node}`,
          ttlMs: timing.leaseTtlMs,
          renewEveryMs: timing.leaseRenewMs,
          giveUpAfterMs: timing.leaseGiveUpMs,
          lockDelayMs: timing.lockDelayMs,
          // This process holds the address that the one before had, so that it is over.
          takesOver: (held) => this.#isOfLifeBefore(held),
          tieToNodeHealth: true,
          onRenewal,
          signal: stopped,
        });
        break;
      } catch (error) {
        if (error instanceof Cancelled) throw error;
        this.storeLost = error instanceof Error ? error.message : String(error);
        this.#log.warn('the lease cannot be taken', { why: this.storeLost, tries });
        onChange();
        await sleep(env.clock, Math.min(timing.joinRetryMs, 500 * 2 ** Math.min(tries, 10)), stopped);
      }
    }
    this.storeLost = '';
    onChange();
    await untilAborted(this.#lease.lost);
    if (stopped.aborted) throw new Cancelled('the lease', stopped.reason);
    this.storeLost = this.#lease.lost.reason instanceof Error ? this.#lease.lost.reason.message : 'the lease ended';
    this.#log.error('the lease is lost; running VMs are not touched', { why: this.storeLost });
    onChange();
  }

  /** Waiting for its session to lapse would let an armed watchdog reset a host whose agent is back in time. */
  #isOfLifeBefore(held: string): boolean {
    const { node, incarnation } = holderOf(held);
    return node === this.parts.config.node && incarnation !== undefined && incarnation < (this.incarnation ?? 0n);
  }

  /**
   * Whether this host was taken for dead although it lives. Then its VMs may have been started elsewhere, and it must
   * join anew before anything here is believed. Not knowing is asked again with the next lease.
   */
  async #wasFenced(): Promise<boolean> {
    const { env, config } = this.parts;
    try {
      const entry = await env.store.get(keys.node(config.node), { consistency: 'consistent' });
      return entry === undefined || nodeCodec.decode(entry.value, entry.index).fencedBy !== '';
    } catch {
      return false;
    }
  }
}

/** Who wrote the value of `alive/NODE`; empty where it is not readable. */
function holderOf(held: string): { node?: string; incarnation?: bigint } {
  try {
    const { node, incarnation } = JSON.parse(held) as { node?: unknown; incarnation?: unknown };
    if (typeof node !== 'string' || typeof incarnation !== 'string') return {};
    return { node, incarnation: BigInt(incarnation) };
  } catch {
    return {};
  }
}

function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else
      signal.addEventListener('abort', () => {
        resolve();
      }, { once: true });
  });
}
