// SPDX-License-Identifier: Apache-2.0
import type { StreamVmLogRequest, StreamVmLogResponse } from '@lockstep/sdk/v1';
import { consoleOf, type ConsolePlace } from '../core/domain-xml/console.js';
import { invalidField, LockstepError } from '../core/errors/catalogue.js';
import { sleep, withDeadline } from '../platform/clock/clock.js';
import { CALL_MS } from './config.js';
import { findCopy } from './copies.js';
import { isActive } from './domain-states.js';
import { asLockstepError } from './hypervisor-errors.js';
import type { AgentParts } from './parts.js';

const MOST_TAIL_LINES = 10_000;
/** Lines are looked for in no more than this of the past. */
const MOST_TAIL_BYTES = 1024 * 1024;
const PIECE_BYTES = 64 * 1024;
const LOOK_EVERY_MS = 250;
/** Looks at the file between two looks at the domain. */
const LOOKS_PER_DOMAIN = 8;
const MOST_STREAMS = 32;
const READ_LIMIT_MS = 3_000;
const NEW_LINE = 10;

/** Streams guests' consoles from this node. Bounded in the past it reads, the pieces it holds, and its streams. */
export class VmLogs {
  /** Where the console stood when a guest was prepared here, by VM: what follows is of its present stay. */
  readonly #arrivals = new Map<string, { migrationId: string; offset: number }>();
  #streams = 0;

  constructor(private readonly parts: AgentParts) {}

  /** A guest is about to arrive. Never fails: without it a reader that comes along begins at the end. */
  async arriving(vmId: string, migrationId: string, domainXml: string): Promise<void> {
    if (this.#arrivals.get(vmId)?.migrationId === migrationId) return;
    try {
      const place = consoleOf(domainXml);
      if (place?.kind !== 'file') return;
      this.#arrivals.set(vmId, { migrationId, offset: (await this.#size(place)) ?? 0 });
    } catch (error) {
      this.parts.env.log.debug('where its console stands is not known', { vm: vmId, error });
    }
  }

  /** Fails with INVALID_FIELD, DOMAIN_NOT_FOUND, NO_CONSOLE or QUEUE_FULL. Ends, where it follows, with the guest's stay. */
  async *stream(request: StreamVmLogRequest, signal: AbortSignal): AsyncGenerator<StreamVmLogResponse> {
    const { vmId, tailLines, follow } = request;
    if (tailLines > MOST_TAIL_LINES) {
      throw invalidField('tail_lines', String(tailLines), `at most ${String(MOST_TAIL_LINES)}`);
    }
    if (this.#streams >= MOST_STREAMS) {
      throw new LockstepError('QUEUE_FULL', `${String(MOST_STREAMS)} consoles are read on this node already`);
    }
    this.#streams += 1;
    try {
      const place = await this.#placeOf(vmId);
      yield* this.#from(place, await this.#beginning(place, request), { vmId, follow, signal });
    } finally {
      this.#streams -= 1;
    }
  }

  async *#from(
    place: ConsolePlace,
    beginning: number,
    { vmId, follow, signal }: { vmId: string; follow: boolean; signal: AbortSignal },
  ): AsyncGenerator<StreamVmLogResponse> {
    let offset = beginning;
    let ending = false;
    for (let looks = 1; !signal.aborted; looks += 1) {
      const size = (await this.#size(place)) ?? 0;
      // Somebody rotated it: what is there now is all new.
      if (place.kind === 'file' && size < offset) offset = 0;
      for (;;) {
        const data = await this.#read(place, offset);
        if (data.length === 0) break;
        offset += data.length;
        yield { data: Buffer.from(data), offset: BigInt(offset) };
        // A reader that left is noticed here, by whoever calls this; a terminal may never be empty.
        if (place.kind === 'pty') break;
      }
      if (!follow || ending) return;
      if (looks % LOOKS_PER_DOMAIN === 0) ending = await this.#hasEnded(vmId);
      if (!ending) await sleep(this.parts.env.clock, LOOK_EVERY_MS, signal).catch(() => undefined);
    }
  }

  async #placeOf(vmId: string): Promise<ConsolePlace> {
    const { hypervisor } = this.parts.env;
    let xml: string;
    try {
      xml = await hypervisor.xml(vmId, 'live', { deadlineMs: CALL_MS.read });
    } catch (error) {
      throw asLockstepError(error, 'StreamVmLog');
    }
    const place = consoleOf(xml);
    if (place !== undefined) return place;
    const want = '<serial type="file"> or <serial type="pty"> with <log file=…>';
    throw new LockstepError('NO_CONSOLE', `the VM has no console that can be read here: give it ${want}`, { vm: vmId });
  }

  async #beginning(place: ConsolePlace, { vmId, tailLines, fromArrival, fromOffset }: StreamVmLogRequest): Promise<number> {
    if (place.kind === 'pty') return 0;
    const size = (await this.#size(place)) ?? 0;
    if (fromOffset !== undefined) return Number(fromOffset);
    if (fromArrival) return Math.min(this.#arrivals.get(vmId)?.offset ?? size, size);
    return tailLines === 0 ? size : await this.#tailBeginning(place, size, tailLines);
  }

  /** Where the last lines begin; a last line that is not ended yet counts as one. */
  async #tailBeginning(place: ConsolePlace, size: number, lines: number): Promise<number> {
    let found = 0;
    for (let end = size; end > 0 && size - end < MOST_TAIL_BYTES; ) {
      const start = Math.max(0, end - PIECE_BYTES);
      const piece = await this.#read(place, start, end - start);
      for (let at = piece.length - 1; at >= 0; at -= 1) {
        const isLast = start + at === size - 1;
        if (piece[at] !== NEW_LINE || isLast) continue;
        found += 1;
        if (found === lines) return start + at + 1;
      }
      end = start;
    }
    return Math.max(0, size - MOST_TAIL_BYTES);
  }

  /** It runs here no more. Not to be able to tell is no reason to leave. */
  async #hasEnded(vmId: string): Promise<boolean> {
    try {
      const domain = await findCopy(this.parts.env.hypervisor, vmId);
      return domain === undefined || !isActive(domain.state);
    } catch {
      return false;
    }
  }

  #size({ path }: ConsolePlace): Promise<number | undefined> {
    return this.#bounded(() => this.parts.env.host.consoles.sizeBytes(path));
  }

  #read({ path }: ConsolePlace, offset: number, length = PIECE_BYTES): Promise<Uint8Array> {
    return this.#bounded(() => this.parts.env.host.consoles.read(path, offset, length));
  }

  /** Storage that hangs costs this stream alone. */
  async #bounded<T>(work: () => Promise<T>): Promise<T> {
    const { env, stopped } = this.parts;
    try {
      return await withDeadline(env.clock, { what: 'the console', limitMs: READ_LIMIT_MS, signal: stopped }, work);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      throw new LockstepError('NO_CONSOLE', `the console cannot be read: ${message}`, {}, { cause: error });
    }
  }
}
