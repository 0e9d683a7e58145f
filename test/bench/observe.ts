// SPDX-License-Identifier: Apache-2.0
// A move as libvirt itself tells it from outside of both hosts: the same for whoever drives it.
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, JobType, Lifecycle, type Connection, type DomainRef } from '@lockstep/node-libvirt';
import type { HostLayout } from '#lab';

const BEGIN_POLL_MS = 1;
/** More than one question and one answer of libvirt to another programs' event takes. */
const EVENT_LIMIT_MS = 5_000;

interface Mark {
  uuid: string;
  change: number;
  atMs: number;
}

/** One host's libvirtd, listened to over a connection of its own. */
export class Watcher {
  readonly #marks: Mark[] = [];

  private constructor(
    readonly host: HostLayout,
    readonly connection: Connection,
  ) {}

  static async open(host: HostLayout): Promise<Watcher> {
    const watcher = new Watcher(host, await connect({ socketPath: host.libvirtSocket }));
    const events = await watcher.connection.events.subscribe(['lifecycle']);
    const listen = async (): Promise<void> => {
      for await (const event of events) {
        const atMs = performance.now();
        if (event.kind === 'lifecycle') watcher.#marks.push({ uuid: event.domain.uuid, change: event.change, atMs });
      }
    };
    // A connection that ends shows as an event that does not come.
    listen().catch(() => undefined);
    return watcher;
  }

  /** When libvirt told that this happened to the domain, at or after `sinceMs`. */
  async heard(what: string, { uuid }: DomainRef, change: number, sinceMs: number): Promise<number> {
    const limit = performance.now() + EVENT_LIMIT_MS;
    for (;;) {
      const mark = this.#marks.find((each) => each.uuid === uuid && each.change === change && each.atMs >= sinceMs);
      if (mark !== undefined) return mark.atMs;
      if (performance.now() > limit) throw new Error(`libvirt on ${this.host.name} never told that ${what}`);
      await sleep(10);
    }
  }

  async close(): Promise<void> {
    await this.connection.close();
  }
}

/** Milliseconds; all but `downtimeMs` by this process's clock. */
export interface Move {
  /** From the asking to Begin. */
  beforeBeginMs: number;
  /** From Begin to the target's QEMU being there: Begin and Prepare. */
  untilStartedMs: number;
  /** From there to the source's standstill: the transfer. */
  transferMs: number;
  /** From the source's standstill to the guest running on the target. */
  standstillMs: number;
  /** From Begin to the guest running on the target. */
  timeMs: number;
  /** libvirt's own figure, from the statistics of the completed job on the target. */
  downtimeMs: number;
  /** Until whoever was asked said that it is done. */
  wholeMs: number;
}

/** Watches one move that `act` asks for and waits for. */
export async function observeMove(
  { source, target, domain }: { source: Watcher; target: Watcher; domain: DomainRef },
  act: () => Promise<void>,
): Promise<Move> {
  const ended = new AbortController();
  const askedMs = performance.now();
  const begin = beginOf(source, domain, ended.signal);
  let endMs: number;
  try {
    await act();
    endMs = performance.now();
  } finally {
    ended.abort();
  }
  const beginMs = await begin;
  if (beginMs === undefined) throw new Error(`no job was seen on ${source.host.name}, though the guest moved`);
  const startedMs = await target.heard('the guest is there', domain, Lifecycle.STARTED, askedMs);
  const suspendedMs = await source.heard('the guest stands still', domain, Lifecycle.SUSPENDED, askedMs);
  const resumedMs = await target.heard('the guest runs', domain, Lifecycle.RESUMED, askedMs);
  const { downtimeNetMs, downtimeMs } = await target.connection.jobs.completedStats(domain, true);
  const downtime = downtimeNetMs ?? downtimeMs;
  if (downtime === undefined) throw new Error(`libvirt on ${target.host.name} has no downtime of this move`);
  return {
    beforeBeginMs: beginMs - askedMs,
    untilStartedMs: startedMs - beginMs,
    transferMs: suspendedMs - startedMs,
    standstillMs: resumedMs - suspendedMs,
    timeMs: resumedMs - beginMs,
    downtimeMs: downtime,
    wholeMs: endMs - askedMs,
  };
}

/** Begin opens the job of the migration at the source; no event tells it, so it is asked for until it is there. */
async function beginOf(source: Watcher, domain: DomainRef, ended: AbortSignal): Promise<number | undefined> {
  while (!ended.aborted) {
    const sentMs = performance.now();
    try {
      const { type } = await source.connection.jobs.stats(domain);
      if (type !== JobType.NONE) return sentMs;
    } catch {
      return undefined;
    }
    await sleep(BEGIN_POLL_MS);
  }
  return undefined;
}
