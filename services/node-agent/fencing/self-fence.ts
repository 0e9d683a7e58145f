// SPDX-License-Identifier: Apache-2.0
import { SelfFence as Announced, SelfFenceMode } from '@lockstep/sdk/v1';
import { durationOf } from '../../core/duration.js';
import { LockstepError } from '../../core/errors/catalogue.js';
import { timesInWords, wrongTimes } from '../../core/fencing/self-fence.js';
import { nodeCodec } from '../../core/records/codec.js';
import { keys } from '../../core/records/keys.js';
import { pauseUnlessAborted } from '../../membership/back-off.js';
import type { Logger } from '../../platform/log/log.js';
import type { ArmedWatchdog, Watchdog } from '../../platform/watchdog/watchdog.js';
import type { AgentParts } from '../parts.js';
import { stopAllVms } from './stop-all.js';

/** What a node does when its lease is lost. Times in milliseconds since the last renewal. */
export interface SelfFenceConfig {
  mode: 'none' | 'stop-vms' | 'watchdog';
  afterMs: number;
  /** How long the watchdog takes. */
  watchdogMs: number;
}

export const SELF_FENCE: SelfFenceConfig = { mode: 'none', afterMs: 20_000, watchdogMs: 10_000 };

/** Where the agent stands with the store. */
export interface Holding {
  incarnation: bigint | undefined;
  /** When the renewal that last succeeded was sent, in whichever lease; undefined: there never was one. */
  renewedAtMs: number | undefined;
  /** Whether the lease is held now. */
  isHeld: boolean;
}

/** Often enough that the host outlives a feeding that comes late. */
const LOOKS_PER_WATCHDOG = 10;
const ANNOUNCE_LIMIT_MS = 3_000;
const TAKE_BACK_TRIES = 5;

/**
 * Ends what runs here when the lease is lost for too long, so that it can be started elsewhere. Only the watchdog proves
 * it, and the node's record says so exactly as long as it is armed: it is armed before it is announced, and taken back
 * before it is disarmed. A new life of the agent arms it only once it holds the lease: a process that dies again and
 * again must not feed it again and again.
 */
export class SelfFence {
  readonly #log: Logger;
  readonly #config: SelfFenceConfig;
  #armed: ArmedWatchdog | undefined;
  /** In which life of the node it is announced. */
  #announcedIn: bigint | undefined;
  #hasStopped = false;
  #running: Promise<void> = Promise.resolve();

  constructor(
    private readonly parts: AgentParts,
    private readonly watchdog: Watchdog | undefined,
    private readonly holding: () => Holding,
  ) {
    this.#config = parts.config.selfFence ?? SELF_FENCE;
    this.#log = parts.env.log.child('self-fence');
  }

  /** Refuses times that do not fit together, with the arithmetic, and a watchdog that is slower than configured. */
  async check(): Promise<void> {
    const { mode, afterMs, watchdogMs } = this.#config;
    if (mode === 'none') return;
    const times = { leaseGiveUpMs: this.parts.timing.leaseGiveUpMs, afterMs, watchdogMs };
    const wrong = wrongTimes(times);
    if (wrong !== undefined) throw refused('self_fence', wrong, 'lease < self-fence < proof by expiry');
    if (mode !== 'watchdog') return;
    if (this.watchdog === undefined) throw refused('self_fence.device', 'nothing', 'the path of a watchdog');
    const deviceMs = await this.watchdog.timeoutMs();
    if (deviceMs !== undefined && deviceMs > watchdogMs) {
      const got = `${String(watchdogMs / 1_000)} s, and ${this.watchdog.path} takes ${String(deviceMs / 1_000)} s`;
      throw refused('self_fence.watchdog_seconds', got, 'at least what the device takes');
    }
    this.#log.info(timesInWords(times));
  }

  /** As it is armed now, for the node's stream. */
  announced(): Announced {
    const { mode, afterMs, watchdogMs } = this.#config;
    if (mode === 'stop-vms') return Announced.create({ mode: SelfFenceMode.STOP_VMS, after: durationOf(afterMs) });
    if (mode === 'none' || this.#armed === undefined) return Announced.create({ mode: SelfFenceMode.NONE });
    return Announced.create({
      mode: SelfFenceMode.WATCHDOG,
      after: durationOf(afterMs),
      watchdog: durationOf(watchdogMs),
    });
  }

  start(): void {
    this.#running = this.#run();
  }

  /** The agent stops in order, and its VMs run on: the announcement is taken back first, and then it is disarmed. */
  async stop(): Promise<void> {
    await this.#running;
    const armed = this.#armed;
    if (armed === undefined) return;
    try {
      if (this.#announcedIn !== undefined) await this.#takeBack(this.#announcedIn);
    } catch (error) {
      this.#log.error('the watchdog stays armed, as the store cannot be told that it is not; it resets this host', { error });
      return;
    }
    this.#armed = undefined;
    await armed.disarm();
    this.#log.info('the watchdog is disarmed');
  }

  /** A leader may be writing the same record: its write is not lost, and this one is tried again. */
  async #takeBack(incarnation: bigint): Promise<void> {
    for (let tries = 1; ; tries += 1) {
      try {
        await this.#announce(incarnation, Announced.create({ mode: SelfFenceMode.NONE }));
        return;
      } catch (error) {
        if (!(error instanceof LockstepError) || tries >= TAKE_BACK_TRIES) throw error;
      }
    }
  }

  async #run(): Promise<void> {
    const { env, stopped } = this.parts;
    if (this.#config.mode === 'none') return;
    const everyMs = Math.max(100, this.#config.watchdogMs / LOOKS_PER_WATCHDOG);
    while (!stopped.aborted) {
      try {
        await (this.#config.mode === 'watchdog' ? this.#feed() : this.#stopWhereLost());
      } catch (error) {
        this.#log.error('self-fencing is in trouble; it is tried again', { error });
      }
      await pauseUnlessAborted(env.clock, everyMs, stopped);
    }
  }

  async #feed(): Promise<void> {
    const { isHeld, incarnation } = this.holding();
    if (this.#isLost()) {
      if (!this.#hasStopped) this.#log.error('the lease is lost for too long: the watchdog is fed no more and resets this host');
      this.#hasStopped = true;
      return;
    }
    this.#hasStopped = false;
    if (this.#armed === undefined) {
      if (!isHeld || this.watchdog === undefined) return;
      this.#armed = await this.watchdog.arm();
      this.#log.ok('the watchdog is armed', { path: this.watchdog.path });
    } else {
      await this.#armed.feed();
    }
    if (isHeld && incarnation !== undefined && this.#announcedIn !== incarnation) void this.#announceArmed(incarnation);
  }

  /** In the background: feeding waits for no store. */
  async #announceArmed(incarnation: bigint): Promise<void> {
    this.#announcedIn = incarnation;
    try {
      await this.#announce(incarnation, this.announced());
    } catch (error) {
      this.#announcedIn = undefined;
      this.#log.warn('the armed watchdog could not be announced; it is tried again', { error });
    }
  }

  async #announce(incarnation: bigint, selfFence: Announced): Promise<void> {
    const { store } = this.parts.env;
    const key = keys.node(this.parts.config.node);
    const entry = await store.get(key, { consistency: 'consistent', deadlineMs: ANNOUNCE_LIMIT_MS });
    const record = entry === undefined ? undefined : nodeCodec.decode(entry.value, entry.index);
    // Joining clears it: nothing is announced in a life that is over.
    if (entry === undefined || record?.incarnation !== incarnation) return;
    const value = nodeCodec.encode({ ...record, selfFence });
    const ops = [{ op: 'cas', key, value, index: entry.index }] as const;
    const { outcome } = await store.txn(ops, { deadlineMs: ANNOUNCE_LIMIT_MS });
    if (outcome === 'conflict') throw new LockstepError('STORE_CONFLICT', 'somebody else wrote the node record at the same time');
  }

  async #stopWhereLost(): Promise<void> {
    if (!this.#isLost()) {
      this.#hasStopped = false;
      return;
    }
    if (this.#hasStopped) return;
    this.#log.error('the lease is lost for too long: the VMs here are stopped');
    const left = await stopAllVms(this.parts, 0);
    this.#hasStopped = left.length === 0;
  }

  #isLost(): boolean {
    const { renewedAtMs } = this.holding();
    return renewedAtMs !== undefined && this.parts.env.clock.nowMs() - renewedAtMs >= this.#config.afterMs;
  }
}

function refused(field: string, got: string, want: string): LockstepError {
  return new LockstepError('INVALID_FIELD', `${field}: got ${got}, want ${want}`, { field, got, want });
}
