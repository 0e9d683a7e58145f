// SPDX-License-Identifier: Apache-2.0
// libvirt's numbers by name. Numbers that come from libvirt are typed `number`, because a newer libvirt may send
// ones that are not listed here; `nameOf` gives them a name for people.

export const DomainState = {
  NO_STATE: 0, RUNNING: 1, BLOCKED: 2, PAUSED: 3, SHUTTING_DOWN: 4, SHUT_OFF: 5, CRASHED: 6, PM_SUSPENDED: 7,
} as const;

export const RunningReason = {
  UNKNOWN: 0, BOOTED: 1, MIGRATED: 2, RESTORED: 3, FROM_SNAPSHOT: 4, UNPAUSED: 5, MIGRATION_CANCELED: 6,
  SAVE_CANCELED: 7, WAKEUP: 8, CRASHED: 9, POSTCOPY: 10, POSTCOPY_FAILED: 11,
} as const;

export const PausedReason = {
  UNKNOWN: 0, USER: 1, MIGRATION: 2, SAVE: 3, DUMP: 4, IO_ERROR: 5, WATCHDOG: 6, FROM_SNAPSHOT: 7,
  SHUTTING_DOWN: 8, SNAPSHOT: 9, CRASHED: 10, STARTING_UP: 11, POSTCOPY: 12, POSTCOPY_FAILED: 13,
} as const;

export const ShutOffReason = {
  UNKNOWN: 0, SHUTDOWN: 1, DESTROYED: 2, CRASHED: 3, MIGRATED: 4, SAVED: 5, FAILED: 6, FROM_SNAPSHOT: 7, DAEMON: 8,
} as const;

export const ShuttingDownReason = { UNKNOWN: 0, USER: 1 } as const;
export const CrashedReason = { UNKNOWN: 0, PANICKED: 1 } as const;

/** What happened to a domain; the detail's meaning depends on it. */
export const Lifecycle = {
  DEFINED: 0, UNDEFINED: 1, STARTED: 2, SUSPENDED: 3, RESUMED: 4, STOPPED: 5, SHUTDOWN: 6, PM_SUSPENDED: 7,
  CRASHED: 8,
} as const;

export const DefinedDetail = { ADDED: 0, UPDATED: 1, RENAMED: 2, FROM_SNAPSHOT: 3 } as const;
export const UndefinedDetail = { REMOVED: 0, RENAMED: 1 } as const;
export const StartedDetail = { BOOTED: 0, MIGRATED: 1, RESTORED: 2, FROM_SNAPSHOT: 3, WAKEUP: 4 } as const;
export const SuspendedDetail = {
  PAUSED: 0, MIGRATED: 1, IO_ERROR: 2, WATCHDOG: 3, RESTORED: 4, FROM_SNAPSHOT: 5, API_ERROR: 6, POSTCOPY: 7,
  POSTCOPY_FAILED: 8,
} as const;
export const ResumedDetail = {
  UNPAUSED: 0, MIGRATED: 1, FROM_SNAPSHOT: 2, POSTCOPY: 3, POSTCOPY_FAILED: 4,
} as const;
export const StoppedDetail = {
  SHUTDOWN: 0, DESTROYED: 1, CRASHED: 2, MIGRATED: 3, SAVED: 4, FAILED: 5, FROM_SNAPSHOT: 6,
} as const;
export const ShutdownDetail = { FINISHED: 0, GUEST: 1, HOST: 2 } as const;
export const CrashedDetail = { PANICKED: 0, CRASH_LOADED: 1 } as const;

/** Flags of `domains.list`; none of a pair means both. */
export const ListFlag = {
  ACTIVE: 1, INACTIVE: 2, PERSISTENT: 4, TRANSIENT: 8, RUNNING: 16, PAUSED: 32, SHUT_OFF: 64, OTHER: 128,
  MANAGED_SAVE: 256, NO_MANAGED_SAVE: 512, AUTOSTART: 1024, NO_AUTOSTART: 2048,
} as const;

export const DefineFlag = { VALIDATE: 1 } as const;
export const StartFlag = {
  PAUSED: 1, AUTODESTROY: 2, BYPASS_CACHE: 4, FORCE_BOOT: 8, VALIDATE: 16, RESET_NVRAM: 32,
} as const;
export const DestroyFlag = { GRACEFUL: 1, REMOVE_LOGS: 2 } as const;
/** How a guest is asked to shut down or to reboot; none leaves the choice to the hypervisor. */
export const ShutdownFlag = { ACPI_POWER_BUTTON: 1, GUEST_AGENT: 2, INITCTL: 4, SIGNAL: 8, PARAVIRT: 16 } as const;
export const UndefineFlag = {
  MANAGED_SAVE: 1, SNAPSHOTS_METADATA: 2, NVRAM: 4, KEEP_NVRAM: 8, CHECKPOINTS_METADATA: 16, TPM: 32, KEEP_TPM: 64,
} as const;
export const XmlFlag = { SECURE: 1, INACTIVE: 2, UPDATE_CPU: 4, MIGRATABLE: 8 } as const;
/** Which of a domain's two definitions a change is for; none means the one that is in force. */
export const AffectFlag = { LIVE: 1, CONFIG: 2 } as const;

/** Groups of `domains.allStats`; none means all that the hypervisor has. */
export const StatsGroup = {
  STATE: 1, CPU_TOTAL: 2, BALLOON: 4, VCPU: 8, INTERFACE: 16, BLOCK: 32, PERF: 64, IOTHREAD: 128, MEMORY: 256,
  DIRTY_RATE: 512, VM: 1024,
} as const;

/** Flags of `domains.allStats`, besides those of `ListFlag`. */
export const StatsFlag = { NOWAIT: 2 ** 29, BACKING: 2 ** 30, ENFORCE_STATS: 2 ** 31 } as const;

export const CpuComparison = { ERROR: -1, INCOMPATIBLE: 0, IDENTICAL: 1, SUPERSET: 2 } as const;
export const CompareCpuFlag = { FAIL_INCOMPATIBLE: 1, VALIDATE_XML: 2 } as const;

export const JobType = { NONE: 0, BOUNDED: 1, UNBOUNDED: 2, COMPLETED: 3, FAILED: 4, CANCELLED: 5 } as const;
export const JobOperation = {
  UNKNOWN: 0, START: 1, SAVE: 2, RESTORE: 3, MIGRATION_IN: 4, MIGRATION_OUT: 5, SNAPSHOT: 6, SNAPSHOT_REVERT: 7,
  DUMP: 8, BACKUP: 9, SNAPSHOT_DELETE: 10,
} as const;
export const JobStatsFlag = { COMPLETED: 1, KEEP_COMPLETED: 2 } as const;
export const AbortJobFlag = { POSTCOPY: 1 } as const;
/** None means page sampling. */
export const DirtyRateFlag = { DIRTY_BITMAP: 1, DIRTY_RING: 2 } as const;

export const MigrateFlag = {
  LIVE: 2 ** 0,
  PEER_TO_PEER: 2 ** 1,
  TUNNELLED: 2 ** 2,
  PERSIST_DEST: 2 ** 3,
  UNDEFINE_SOURCE: 2 ** 4,
  PAUSED: 2 ** 5,
  NON_SHARED_DISK: 2 ** 6,
  NON_SHARED_INC: 2 ** 7,
  CHANGE_PROTECTION: 2 ** 8,
  UNSAFE: 2 ** 9,
  OFFLINE: 2 ** 10,
  COMPRESSED: 2 ** 11,
  ABORT_ON_ERROR: 2 ** 12,
  AUTO_CONVERGE: 2 ** 13,
  RDMA_PIN_ALL: 2 ** 14,
  POSTCOPY: 2 ** 15,
  TLS: 2 ** 16,
  PARALLEL: 2 ** 17,
  NON_SHARED_SYNCHRONOUS_WRITES: 2 ** 18,
  POSTCOPY_RESUME: 2 ** 19,
  ZEROCOPY: 2 ** 20,
} as const;

/** The name of `value` in one of the tables above, e.g. `nameOf(DomainState, 3)` is `PAUSED`; else the number. */
export function nameOf(table: Readonly<Record<string, number>>, value: number): string {
  for (const [name, number] of Object.entries(table)) if (number === value) return name;
  return String(value);
}

const REASONS: ReadonlyMap<number, Readonly<Record<string, number>>> = new Map<number, Record<string, number>>([
  [DomainState.RUNNING, RunningReason],
  [DomainState.PAUSED, PausedReason],
  [DomainState.SHUTTING_DOWN, ShuttingDownReason],
  [DomainState.SHUT_OFF, ShutOffReason],
  [DomainState.CRASHED, CrashedReason],
]);

/** For people: `PAUSED (MIGRATION)`. */
export function describeState(state: number, reason: number): string {
  return `${nameOf(DomainState, state)} (${nameOf(REASONS.get(state) ?? {}, reason)})`;
}

const DETAILS: ReadonlyMap<number, Readonly<Record<string, number>>> = new Map<number, Record<string, number>>([
  [Lifecycle.DEFINED, DefinedDetail],
  [Lifecycle.UNDEFINED, UndefinedDetail],
  [Lifecycle.STARTED, StartedDetail],
  [Lifecycle.SUSPENDED, SuspendedDetail],
  [Lifecycle.RESUMED, ResumedDetail],
  [Lifecycle.STOPPED, StoppedDetail],
  [Lifecycle.SHUTDOWN, ShutdownDetail],
  [Lifecycle.CRASHED, CrashedDetail],
]);

/** For people: `RESUMED (MIGRATED)`. */
export function describeLifecycle(change: number, detail: number): string {
  return `${nameOf(Lifecycle, change)} (${nameOf(DETAILS.get(change) ?? {}, detail)})`;
}
