// SPDX-License-Identifier: Apache-2.0

/** What a domain is doing, in the hypervisor's terms; the reason tells a user's pause from a migration's. */
export type DomainState =
  | { state: 'running'; reason: 'ordinary' | 'post-copy' }
  | { state: 'paused'; reason: 'user' | 'migration' | 'io-error' | 'starting-up' | 'post-copy-failed' | 'other' }
  | { state: 'shutting-down' }
  | { state: 'off'; reason: 'shutdown' | 'destroyed' | 'crashed' | 'failed' | 'migrated' | 'other' };

/** A domain as the hypervisor lists it, whether it runs or is only defined. */
export interface Domain {
  uuid: string;
  name: string;
  state: DomainState;
  /** It is defined, and stays so when it stops. */
  persistent: boolean;
  /** From its metadata; undefined where it has none: then it is not ours. */
  placementEpoch: bigint | undefined;
  maxMemoryBytes: bigint;
  vcpus: number;
  /** RBD images that it has as disks, as pool/name; absent: not known. */
  rbdImages?: readonly string[];
}

/** What a running domain uses. A domain that does not answer at once is left out, never waited for. */
export interface DomainUsage {
  uuid: string;
  cpuTimeNs: bigint;
  /** Resident memory of the whole process. */
  memoryUsedBytes: bigint;
}

/** What a running guest does with its memory: what a forecast of its move rests on. */
export interface MemoryUse {
  /** How much of it the guest writes to in a second. */
  dirtyRateBytesPerSecond: bigint;
  /** What the guest has ever written to, so that it must be sent; undefined where nobody can tell. */
  touchedBytes: bigint | undefined;
}

export interface HypervisorInfo {
  hostUuid: string;
  hostname: string;
  /** E.g. "9.0.0". */
  version: string;
  cpus: number;
  memoryBytes: bigint;
}

/** Something happened to a domain. Events may be lost at a reconnect; `resync` says: list again. */
export type DomainEvent =
  | { kind: 'changed'; uuid: string; what: string }
  | { kind: 'iteration'; uuid: string; iteration: number }
  | { kind: 'resync' };

/** A progress report of a transfer. Bytes, bytes per second, milliseconds. */
export interface TransferProgress {
  memorySentBytes: bigint;
  memoryRemainingBytes: bigint;
  memoryTotalBytes: bigint;
  dirtyRateBytesPerSecond: bigint;
  bandwidthBytesPerSecond: bigint;
  iteration: number;
  expectedDowntimeMs: number;
  elapsedMs: number;
}

/** What a finished transfer cost, as the hypervisor measured it. */
export interface TransferStats {
  downtimeMs: number | undefined;
  totalMs: number | undefined;
  memorySentBytes: bigint | undefined;
  iterations: number | undefined;
}

export interface TransferSettings {
  bandwidthBytesPerSecond: bigint | undefined;
  maxDowntimeMs: number | undefined;
  autoConverge: boolean;
  postCopy: boolean;
}

/** Both definitions of a domain: the live one and the one that stays after it stops. */
export interface DomainDefinitions {
  liveXml: string;
  persistentXml: string;
}

/**
 * The source's end of one live migration; owns a connection of its own from `begin` to `confirm`. Nothing here is
 * ended by a deadline except by its own verdict: closing during `perform` leaves a paused guest without a job.
 */
export interface OutgoingMigration {
  readonly uuid: string;
  /** Protects the domain from changes and yields what the target needs. `paused`: its user's pause travels along. */
  begin(call: CallLimit): Promise<DomainDefinitions & { cookie: Uint8Array; paused: boolean }>;
  /**
   * Sends all memory; settles when the source stands still. Fails with the guest as it was before `begin`, and the job
   * over. No deadline. The source's hypervisor is the one that hands `persistentXml` to the target's.
   */
  perform(input: {
    uri: string;
    cookie: Uint8Array;
    settings: TransferSettings;
    persistentXml: string;
  }): Promise<{ cookie: Uint8Array }>;
  /** Fails with `no-job` before and after the transfer. This and the levers work beside the migration's connection. */
  progress(call: CallLimit): Promise<TransferProgress>;
  setMaxDowntime(downtimeMs: number, call: CallLimit): Promise<void>;
  setBandwidth(bytesPerSecond: bigint, call: CallLimit): Promise<void>;
  /**
   * The source stands still at once and `perform` settles; `finish` lets the guest run and settles when the rest of
   * its memory has arrived. From here on neither host alone has all of it.
   */
  startPostCopy(call: CallLimit): Promise<void>;
  /** The guest stands still from now on, so that the rest can be sent; it goes on where the transfer ends. */
  pause(call: CallLimit): Promise<void>;
  /** Makes `perform` fail; the guest runs on. */
  abort(call: CallLimit): Promise<void>;
  /**
   * The target runs: destroys and undefines the old copy. Fails with `no-job` where the connection of `begin` was lost
   * since: then it is for the caller to destroy and undefine the copy, by its placement epoch.
   */
  confirm(input: { cookie: Uint8Array }, call: CallLimit): Promise<void>;
  /**
   * The target has given up: the old copy goes on as it was before `begin`; done if it does already. Fails with
   * `no-job` where it stands still and the connection of `begin` was lost since: the caller resumes it.
   */
  cancel(call: CallLimit): Promise<void>;
  /** Aborts when the connection is gone; what that does to the guest depends on the phase. */
  readonly lost: AbortSignal;
  /** Gives the connection back. Only after `confirm` or `cancel`, or where the guest's fate is settled. */
  close(): void;
}

/** The target's end of one live migration; owns a connection whose loss destroys a guest that was not finished. */
export interface IncomingMigration {
  readonly uuid: string;
  /** Builds the incoming guest, paused, and listens for memory. */
  prepare(
    input: DomainDefinitions & { cookie: Uint8Array; paused: boolean; settings: TransferSettings },
    call: CallLimit,
  ): Promise<{ uri: string; cookie: Uint8Array }>;
  /**
   * The commit point: the guest runs here, or stays paused where its user had paused it. An empty cookie stands for
   * the one of `perform` that was lost. `gone`: there is no such guest here. `no-job`: there is, and it is not incoming
   * (it was finished before).
   */
  finish(input: { cookie: Uint8Array }, call: CallLimit): Promise<{ cookie: Uint8Array; stats: TransferStats }>;
  /** Destroys the incoming guest; done if there is none. */
  cancel(call: CallLimit): Promise<void>;
  readonly lost: AbortSignal;
  close(): void;
}

/** Every call has a limit of its own. */
export interface CallLimit {
  deadlineMs: number;
  signal?: AbortSignal | undefined;
}

/**
 * `down`: the hypervisor does not answer at all. `deadline`: this call did not. `gone`: no such domain. `refused`: it
 * said no, permanently as far as it can tell. `no-job`: there is no transfer. `aborted`: the transfer was aborted.
 * `invalid`: the domain XML is wrong. `locked`: another process writes to an image of it. `failed`: anything else.
 */
export type HypervisorErrorKind = 'down' | 'deadline' | 'gone' | 'refused' | 'no-job' | 'aborted' | 'failed' | 'invalid' | 'locked';

/** A call to the hypervisor failed; the message holds its own words. */
export class HypervisorError extends Error {
  override readonly name = 'HypervisorError';
  constructor(
    readonly kind: HypervisorErrorKind,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/**
 * The one hypervisor under an agent: libvirt's, or the simulated one. It reconnects by itself; while it cannot, every
 * call fails with `down` at once. A call that does not answer costs nobody else anything.
 */
export interface Hypervisor {
  info(call: CallLimit): Promise<HypervisorInfo>;
  list(call: CallLimit): Promise<Domain[]>;
  find(uuid: string, call: CallLimit): Promise<Domain | undefined>;
  /** Usage of the running domains that answer at once. */
  usage(call: CallLimit): Promise<DomainUsage[]>;
  /** `inactive`: the definition that the next start uses. */
  xml(uuid: string, which: 'live' | 'inactive', call: CallLimit): Promise<string>;
  /** Defines or redefines. The XML carries the placement epoch in its metadata. */
  define(xml: string, call: CallLimit): Promise<Domain>;
  /** Writes the placement epoch into the definition and, where it runs, into the running copy. */
  stampEpoch(uuid: string, placementEpoch: bigint, call: CallLimit): Promise<void>;
  /** From now on it is started only by `start`, never by the hypervisor itself when its host boots. */
  disableAutostart(uuid: string, call: CallLimit): Promise<void>;
  /** Fails with `locked` where a copy elsewhere holds the lock of an image that it writes to. */
  start(uuid: string, call: CallLimit): Promise<void>;
  /** Asks the guest to shut down; whether it does is its own affair. */
  shutdown(uuid: string, call: CallLimit): Promise<void>;
  reboot(uuid: string, call: CallLimit): Promise<void>;
  /** Resets the guest's machine at once. */
  reset(uuid: string, call: CallLimit): Promise<void>;
  /** Ends the copy at once; done if it does not run. */
  destroy(uuid: string, call: CallLimit): Promise<void>;
  resume(uuid: string, call: CallLimit): Promise<void>;
  /** Removes the definition; done if there is none. */
  undefine(uuid: string, call: CallLimit): Promise<void>;
  /** Whether the host can run this domain: machine type, CPU model, memory. Fails with `refused` and the reason. */
  checkFit(xml: string, call: CallLimit): Promise<void>;
  /** Measures what a running domain does with its memory, which takes some seconds. */
  memoryUse(uuid: string, call: CallLimit): Promise<MemoryUse>;
  openOutgoing(uuid: string, call: CallLimit): Promise<OutgoingMigration>;
  openIncoming(uuid: string, call: CallLimit): Promise<IncomingMigration>;
  /** Events from now on until the signal aborts. Begins with `resync`. A slow consumer gets `resync` instead. */
  events(signal: AbortSignal): AsyncIterable<DomainEvent>;
  /** Closes its connections; running guests are not touched, prepared incoming ones are destroyed. */
  close(): Promise<void>;
}
