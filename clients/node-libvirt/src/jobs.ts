// SPDX-License-Identifier: Apache-2.0
import type { CallOptions } from './calls.js';
import { JobStatsFlag } from './constants.js';
import { procedures } from './procedures.js';
import type { Caller } from './rpc-client.js';
import { type TypedParam, type TypedParamValue, paramsToRecord } from './typed-params.js';
import type { DomainRef } from './wire-types.js';

/** Progress or result of a job, as far as libvirt told it: amounts of data are bigints, the rest numbers. */
export interface JobFigures {
  /** See `JobOperation`. */
  readonly operation?: number;
  readonly timeElapsedMs?: number;
  /** Without the difference of the two hosts' clocks, where libvirt measured it. */
  readonly timeElapsedNetMs?: number;
  readonly timeRemainingMs?: number;
  /** While migrating: the downtime to be expected; in completed figures: the one that was. */
  readonly downtimeMs?: number;
  readonly downtimeNetMs?: number;
  readonly setupTimeMs?: number;
  readonly dataTotalBytes?: bigint;
  readonly dataProcessedBytes?: bigint;
  readonly dataRemainingBytes?: bigint;
  readonly memoryTotalBytes?: bigint;
  readonly memoryProcessedBytes?: bigint;
  readonly memoryRemainingBytes?: bigint;
  readonly memoryBytesPerSecond?: bigint;
  readonly memoryDirtyPagesPerSecond?: number;
  readonly memoryPageSizeBytes?: number;
  readonly memoryIteration?: number;
  readonly memoryConstantPages?: number;
  readonly memoryNormalPages?: number;
  readonly memoryPostcopyRequests?: number;
  readonly diskTotalBytes?: bigint;
  readonly diskProcessedBytes?: bigint;
  readonly diskRemainingBytes?: bigint;
  readonly diskBytesPerSecond?: bigint;
  readonly autoConvergeThrottlePercent?: number;
  readonly success?: boolean;
  readonly errorMessage?: string;
  /** Everything libvirt sent, known to this package or not. */
  readonly params: readonly TypedParam[];
}

export interface JobStats extends JobFigures {
  /** See `JobType`; `NONE` when no job runs. */
  readonly type: number;
}

type NamesOf<V> = { [K in keyof JobFigures]-?: JobFigures[K] extends V | undefined ? K : never }[keyof JobFigures];

const AMOUNTS: readonly (readonly [string, NamesOf<bigint>])[] = [
  ['data_total', 'dataTotalBytes'],
  ['data_processed', 'dataProcessedBytes'],
  ['data_remaining', 'dataRemainingBytes'],
  ['memory_total', 'memoryTotalBytes'],
  ['memory_processed', 'memoryProcessedBytes'],
  ['memory_remaining', 'memoryRemainingBytes'],
  ['memory_bps', 'memoryBytesPerSecond'],
  ['disk_total', 'diskTotalBytes'],
  ['disk_processed', 'diskProcessedBytes'],
  ['disk_remaining', 'diskRemainingBytes'],
  ['disk_bps', 'diskBytesPerSecond'],
];

const NUMBERS: readonly (readonly [string, NamesOf<number>])[] = [
  ['operation', 'operation'],
  ['time_elapsed', 'timeElapsedMs'],
  ['time_elapsed_net', 'timeElapsedNetMs'],
  ['time_remaining', 'timeRemainingMs'],
  ['downtime', 'downtimeMs'],
  ['downtime_net', 'downtimeNetMs'],
  ['setup_time', 'setupTimeMs'],
  ['memory_dirty_rate', 'memoryDirtyPagesPerSecond'],
  ['memory_page_size', 'memoryPageSizeBytes'],
  ['memory_iteration', 'memoryIteration'],
  ['memory_constant', 'memoryConstantPages'],
  ['memory_normal', 'memoryNormalPages'],
  ['memory_postcopy_requests', 'memoryPostcopyRequests'],
  ['auto_converge_throttle', 'autoConvergeThrottlePercent'],
];

const isNumeric = (value: TypedParamValue | undefined): value is number | bigint =>
  typeof value === 'number' || typeof value === 'bigint';

/** Reads libvirt's parameters of a job; a value of an unexpected type is left to `params`. */
export function jobFigures(params: readonly TypedParam[]): JobFigures {
  const given = paramsToRecord(params);
  const figures: Partial<Record<keyof JobFigures, unknown>> = { params };
  for (const [wire, name] of AMOUNTS) {
    const value = given[wire];
    if (isNumeric(value) && Number.isInteger(Number(value))) figures[name] = BigInt(value);
  }
  for (const [wire, name] of NUMBERS) {
    const value = given[wire];
    if (isNumeric(value)) figures[name] = Number(value);
  }
  if (typeof given['success'] === 'boolean') figures.success = given['success'];
  if (typeof given['errmsg'] === 'string') figures.errorMessage = given['errmsg'];
  return figures as JobFigures;
}

/** What runs on a domain right now, and the levers on it. Use another connection than the one that migrates. */
export class Jobs {
  readonly #rpc: Caller;

  constructor(rpc: Caller) {
    this.#rpc = rpc;
  }

  /** Of the job that runs now; `type` is `JobType.NONE` if there is none. */
  async stats(domain: DomainRef, options?: CallOptions): Promise<JobStats> {
    return this.#stats(domain, 0, options);
  }

  /** Of the last job that ended; libvirt forgets them when they are read, unless `keep` is set. */
  async completedStats(domain: DomainRef, keep: boolean, options?: CallOptions): Promise<JobStats> {
    const flags = keep ? JobStatsFlag.COMPLETED | JobStatsFlag.KEEP_COMPLETED : JobStatsFlag.COMPLETED;
    return this.#stats(domain, flags, options);
  }

  async #stats(domain: DomainRef, flags: number, options?: CallOptions): Promise<JobStats> {
    const { type, params } = await this.#rpc.call(procedures.domainGetJobStats, { dom: domain, flags }, options);
    return { type, ...jobFigures(params) };
  }

  /** Asks for the end of the running job; the call that started it then fails with `OPERATION_ABORTED`. */
  async abort(domain: DomainRef, flags = 0, options?: CallOptions): Promise<void> {
    if (flags === 0) await this.#rpc.call(procedures.domainAbortJob, { dom: domain }, options);
    else await this.#rpc.call(procedures.domainAbortJobFlags, { dom: domain, flags }, options);
  }

  /** The pause that QEMU may take for the switch-over; works while migrating, too. */
  async setMaxDowntime(domain: DomainRef, downtimeMs: number, options?: CallOptions): Promise<void> {
    const args = { dom: domain, downtime: toUnsigned(downtimeMs), flags: 0 };
    await this.#rpc.call(procedures.domainMigrateSetMaxDowntime, args, options);
  }

  /** In milliseconds. */
  async maxDowntime(domain: DomainRef, options?: CallOptions): Promise<number> {
    const { downtime } = await this.#rpc.call(
      procedures.domainMigrateGetMaxDowntime, { dom: domain, flags: 0 }, options,
    );
    return Number(downtime);
  }

  /** The bandwidth of the migration that runs or comes next, in MiB/s. */
  async setMaxSpeed(domain: DomainRef, speedMiBps: number, options?: CallOptions): Promise<void> {
    const args = { dom: domain, bandwidth: toUnsigned(speedMiBps), flags: 0 };
    await this.#rpc.call(procedures.domainMigrateSetMaxSpeed, args, options);
  }

  /** Switches a running migration that has `MigrateFlag.POSTCOPY` over to its target at once. */
  async startPostCopy(domain: DomainRef, options?: CallOptions): Promise<void> {
    await this.#rpc.call(procedures.domainMigrateStartPostCopy, { dom: domain, flags: 0 }, options);
  }

  /** Starts a measurement; its result is in `domains.allStats`, group `DIRTY_RATE`, after `seconds`. */
  async startDirtyRateCalc(domain: DomainRef, seconds: number, flags = 0, options?: CallOptions): Promise<void> {
    await this.#rpc.call(procedures.domainStartDirtyRateCalc, { dom: domain, seconds, flags }, options);
  }
}

/** Fractions are dropped; the codec refuses what is negative. */
const toUnsigned = (value: number): bigint => BigInt(Math.trunc(value));
