// SPDX-License-Identifier: Apache-2.0
import { Status } from 'nice-grpc-common';
import { toApiError } from './errors.js';
import type { CallLimits } from './transport/deadline.js';
import { type Migration, MigrationState, type SchedulerServiceClient, type Vm, type VmState } from './v1.js';
import { untilResult, type WaitOptions } from './wait.js';

type Scheduler = SchedulerServiceClient<CallLimits>;

/** A VM's wait ends when it is in one of these states, or when this says so. */
export type VmCondition = readonly VmState[] | ((vm: Vm) => boolean);

/** Whether a migration has ended: SUCCEEDED, ABORTED or FAILED. UNCERTAIN is no end. */
export function isTerminal({ state }: Pick<Migration, 'state'>): boolean {
  return (
    state === MigrationState.SUCCEEDED || state === MigrationState.ABORTED || state === MigrationState.FAILED
  );
}

/** Follows the watch of one migration until it has ended; undefined where the watch ended before. */
async function watchToEnd(
  scheduler: Scheduler,
  id: string,
  signal: AbortSignal,
  news: (migration: Migration) => void,
): Promise<Migration | undefined> {
  for await (const { changed } of scheduler.watchMigrations({ id }, { signal })) {
    const migration = changed.find((candidate) => candidate.id === id);
    if (migration === undefined) continue;
    news(migration);
    if (isTerminal(migration)) return migration;
  }
  return undefined;
}

/** Runs work with a signal that ends with the caller's, and at the latest when the work is done. */
async function withLinkedSignal<T>(signal: AbortSignal | undefined, work: (inner: AbortSignal) => Promise<T>): Promise<T> {
  const inner = new AbortController();
  const onAbort = (): void => {
    inner.abort();
  };
  if (signal?.aborted === true) onAbort();
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    return await work(inner.signal);
  } finally {
    signal?.removeEventListener('abort', onAbort);
  }
}

/** See {@link Lockstep.waitForMigration}. */
export function waitForMigration(scheduler: Scheduler, id: string, options: WaitOptions<Migration>): Promise<Migration> {
  const { signal } = options;
  const callOptions = signal === undefined ? {} : { signal };
  return untilResult(options, async (news) => {
    // Also the quickest way to learn that there is no such migration.
    const { migration } = await scheduler.getMigration({ id }, callOptions);
    if (migration !== undefined) {
      news(migration);
      if (isTerminal(migration)) return migration;
    }
    try {
      return await withLinkedSignal(signal, (inner) => watchToEnd(scheduler, id, inner, news));
    } catch (error) {
      // A service that cannot watch yet is polled.
      if (toApiError(error).code === Status.UNIMPLEMENTED) return undefined;
      throw error;
    }
  });
}

/** See {@link Lockstep.waitForVm}. */
export function waitForVm(
  scheduler: Scheduler,
  vm: string,
  condition: VmCondition,
  options: WaitOptions<Vm>,
): Promise<Vm> {
  const { signal } = options;
  const holds =
    typeof condition === 'function'
      ? condition
      : ({ status }: Vm): boolean => status !== undefined && condition.includes(status.state);
  return untilResult(options, async (news) => {
    const answer = await scheduler.getVm({ vm }, signal === undefined ? {} : { signal });
    if (answer.vm === undefined) return undefined;
    news(answer.vm);
    return holds(answer.vm) ? answer.vm : undefined;
  });
}
