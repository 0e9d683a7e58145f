// SPDX-License-Identifier: Apache-2.0
import {
  type DomainDefinitions,
  type DomainState,
  HypervisorError,
  type TransferProgress,
  type TransferSettings,
} from './hypervisor.js';
import type { SimulatedConnection } from './simulated-daemon.js';
import type { SimulatedGuest } from './simulated-guest.js';
import type { SimulatedMachine } from './simulated-machine.js';
import { cookieOf, type PerformCookie } from './simulated-cookie.js';
import type { SimulatedLinks } from './simulated-network.js';
import { SimulatedTransfer } from './simulated-transfer.js';

/** The hypervisor's job on a guest that is to move away. */
interface OutgoingJob {
  readonly guest: SimulatedGuest;
  /** Began it; the job does not outlive this, except while the transfer lasts. */
  readonly connection: SimulatedConnection;
  /** What it did when the job began. */
  readonly before: Exclude<DomainState, { state: 'off' }>;
  phase: 'begun' | 'performing' | 'performed';
  transfer: SimulatedTransfer | undefined;
}

/** The source's side of migrations as the hypervisor keeps it: one job for each guest at most. */
export class SimulatedSource {
  readonly #machine: SimulatedMachine;
  readonly #links: SimulatedLinks;
  readonly #jobs = new Map<string, OutgoingJob>();

  constructor(machine: SimulatedMachine, links: SimulatedLinks) {
    this.#machine = machine;
    this.#links = links;
  }

  async begin(uuid: string, connection: SimulatedConnection): Promise<DomainDefinitions & { cookie: Uint8Array; paused: boolean }> {
    const guest = this.#machine.guest(uuid);
    await guest.answers();
    if (this.#jobs.has(uuid)) throw new HypervisorError('refused', 'another migration job is already running');
    if (guest.state.state === 'shutting-down') throw new HypervisorError('refused', 'the guest is shutting down');
    if (guest.state.state === 'off') throw new HypervisorError('refused', 'domain is not running');
    const job: OutgoingJob = { guest, connection, before: guest.state, phase: 'begun', transfer: undefined };
    this.#jobs.set(uuid, job);
    this.#machine.hold(uuid);
    const leave = guest.watch(() => {
      if (guest.alive) return;
      leave();
      this.#release(job);
    });
    return {
      liveXml: guest.xml,
      persistentXml: this.#machine.definitions.get(uuid) ?? guest.xml,
      cookie: cookieOf({ uuid, from: this.#machine.name }),
      paused: guest.state.state === 'paused',
    };
  }

  async perform(
    uuid: string,
    input: { uri: string; settings: TransferSettings; persistentXml: string },
    connection: SimulatedConnection,
  ): Promise<{ cookie: Uint8Array }> {
    const job = this.#job(uuid);
    if (job.phase !== 'begun') throw new HypervisorError('refused', 'the migration job is in another phase');
    const target = this.#links.connect(this.#machine.name, input.uri);
    if (target === undefined) throw new HypervisorError('failed', `unable to connect to ${input.uri}`);
    const { host, stream } = target;
    const transfer = new SimulatedTransfer({
      clock: this.#machine.clock,
      guest: job.guest,
      stream,
      linkRate: () => this.#links.rate(this.#machine.name, host),
      watchRates: (watcher) => this.#links.watchRates(watcher),
      settings: input.settings,
      onIteration: (iteration) => {
        this.#machine.feed.emit({ kind: 'iteration', uuid, iteration });
      },
    });
    job.phase = 'performing';
    job.transfer = transfer;
    try {
      const cost = await transfer.done;
      // A daemon that was killed meanwhile has not seen the end; it recovers from what it knew.
      if (connection.closed || !connection.lost.aborted) job.phase = 'performed';
      const cookie: PerformCookie = { uuid, persistentXml: input.persistentXml, cost };
      return { cookie: cookieOf(cookie) };
    } catch (error) {
      this.#release(job);
      throw error;
    } finally {
      // Where nobody waits for the end the job ends with it: nothing protects the paused guest any more.
      if (connection.closed) this.#release(job);
    }
  }

  progress(uuid: string): TransferProgress {
    return this.#transfer(uuid).progress();
  }

  setMaxDowntime(uuid: string, downtimeMs: number): void {
    this.#transfer(uuid).setMaxDowntime(downtimeMs);
  }

  setBandwidth(uuid: string, bytesPerSecond: bigint): void {
    this.#transfer(uuid).setBandwidth(bytesPerSecond);
  }

  startPostCopy(uuid: string): void {
    this.#transfer(uuid).startPostCopy();
  }

  pause(uuid: string): void {
    this.#transfer(uuid).pause();
  }

  abort(uuid: string): void {
    this.#transfer(uuid).abort();
  }

  confirm(uuid: string): void {
    const job = this.#performed(uuid);
    this.#release(job);
    job.guest.end('migrated');
    this.#machine.undefine(uuid);
  }

  cancel(uuid: string): void {
    const { state } = this.#machine.guests.get(uuid) ?? {};
    const standing = state?.state === 'paused' && state.reason !== 'user' && state.reason !== 'io-error';
    // A failed transfer has ended its job by itself, and the guest is as it was.
    if (state !== undefined && !standing && !this.#jobs.has(uuid)) return;
    const job = this.#job(uuid);
    if (job.transfer?.active === true) throw new HypervisorError('refused', 'the transfer is under way');
    this.#release(job);
    job.guest.become(job.before, 'as before (migration cancelled)');
  }

  /** What the hypervisor does when the connection that began or performed a migration closes. */
  connectionClosed(uuid: string, connection: SimulatedConnection): void {
    const job = this.#jobs.get(uuid);
    if (job?.connection === connection && job.phase !== 'performing') this.#release(job);
  }

  /** The hypervisor's process starts again and finds guests in the middle of a migration. */
  recover(): void {
    for (const job of [...this.#jobs.values()]) {
      this.#release(job);
      if (job.transfer?.active === true) job.transfer.abort();
      else if (job.phase === 'performing') job.guest.become(job.before, 'as before (migration cancelled)');
    }
  }

  /** Power is gone, and the jobs with it. */
  losePower(): void {
    for (const job of this.#jobs.values()) job.transfer?.vanish();
    this.#jobs.clear();
  }

  #job(uuid: string): OutgoingJob {
    const job = this.#jobs.get(uuid);
    if (job !== undefined) return job;
    if (this.#machine.find(uuid) === undefined) {
      throw new HypervisorError('gone', `Domain not found: no domain with matching uuid '${uuid}'`);
    }
    throw new HypervisorError('no-job', 'Requested operation is not valid: domain is not being migrated');
  }

  #performed(uuid: string): OutgoingJob {
    const job = this.#job(uuid);
    if (job.phase !== 'performed' || job.transfer?.active === true) throw new HypervisorError('refused', 'the transfer is not complete');
    return job;
  }

  #transfer(uuid: string): SimulatedTransfer {
    const transfer = this.#jobs.get(uuid)?.transfer;
    if (transfer?.active === true) return transfer;
    throw new HypervisorError('no-job', 'Requested operation is not valid: no job is active on the domain');
  }

  #release(job: OutgoingJob): void {
    if (this.#jobs.get(job.guest.uuid) !== job) return;
    this.#jobs.delete(job.guest.uuid);
    this.#machine.release(job.guest.uuid);
  }
}
