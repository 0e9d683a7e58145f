// SPDX-License-Identifier: Apache-2.0
import { z } from 'zod';
import type { Clock } from '../clock/clock.js';
import type { Logger } from '../log/log.js';
import type { Random } from '../random/random.js';
import { storeOn } from './assemble.js';
import { HttpClient, NotAnswered, type ConsulTls, type HttpAnswer, type HttpRequest } from './consul-http.js';
import { createdSession, entryOf, healthChecks, kvListing, memberOf, toWire, txnCommitted, txnRefused } from './consul-wire.js';
import {
  conflictAt,
  type DriverListOptions,
  type DriverOp,
  type DriverReadOptions,
  type SessionSpec,
  type StoreDriver,
} from './driver.js';
import { StoreError, type Consistency, type Entry, type Listing, type Member, type Store, type TxnResult } from './store.js';

export interface ConsulOptions {
  /** `http://HOST:PORT` or `https://HOST:PORT`, as a rule of the Consul on the same host. */
  address: string;
  token?: string | undefined;
  tls?: ConsulTls | undefined;
  /** The datacenter of that Consul unless told. */
  datacenter?: string | undefined;
  /** The Consul node that sessions belong to; the one that is asked unless told. */
  nodeName?: string | undefined;
  clock: Clock;
  random: Random;
  log: Logger;
}

/** A store on Consul 1.8 or later. Throws {@link StoreError} `invalid` on an address that cannot be one. */
export function createConsulStore(options: ConsulOptions): Store {
  return storeOn(createConsulDriver(options), options);
}

/** The connection beneath {@link createConsulStore}. */
export function createConsulDriver(options: Omit<ConsulOptions, 'log'>): StoreDriver {
  return new ConsulDriver(new HttpClient(options), options);
}

/** The call's kind decides what a failure means: a read had no effect, a write may have had one. */
type CallKind = 'read' | 'write';

/** Consul's own check of a node: whether the others hear it. */
const SERF_HEALTH = 'serfHealth';

class ConsulDriver implements StoreDriver {
  constructor(
    private readonly client: HttpClient,
    private readonly options: Omit<ConsulOptions, 'log'>,
  ) {}

  async get(key: string, options: DriverReadOptions): Promise<Entry | undefined> {
    const { answer } = await this.#read(key, {}, options);
    if (answer.status === 404) return undefined;
    const entry = parse('read', kvListing, answer)[0];
    if (entry === undefined) throw notConsul('read', 'the answer holds no entry');
    return entryOf(entry);
  }

  async list(prefix: string, options: DriverListOptions): Promise<Listing> {
    const { wait } = options;
    const block =
      wait === undefined ? {} : { index: String(wait.afterIndex), wait: `${String(Math.ceil(wait.waitMs))}ms` };
    const { answer, index } = await this.#read(prefix, { recurse: '', ...block }, options);
    if (answer.headers['x-consul-results-filtered-by-acls'] === 'true') {
      throw new StoreError('denied', `Consul: the token may not read all under ${prefix}`);
    }
    if (answer.status === 404) {
      // Without permission an older Consul shows a folder as empty; a read of a single key says so.
      if (prefix !== '') await this.#read(prefix, {}, options);
      return { entries: [], index };
    }
    return { entries: parse('read', kvListing, answer).map(entryOf), index };
  }

  async txn(ops: readonly DriverOp[], signal: AbortSignal): Promise<TxnResult> {
    const mark = Math.floor(this.options.random.next() * 2 ** 52);
    const wire = ops.flatMap((op) => toWire(op, mark).map((wireOp) => ({ op, wireOp })));
    const answer = await this.#send('write', {
      method: 'PUT',
      path: '/v1/txn',
      // Holds for transactions that only check: a quorum confirms the leader.
      query: { consistent: '' },
      body: JSON.stringify(wire.map(({ wireOp }) => wireOp)),
      signal,
    });
    if (answer.status === 409) {
      const [error] = parse('write', txnRefused, answer).Errors;
      const what = error?.What ?? 'no reason given';
      if (/permission denied|acl not found/i.test(what)) throw new StoreError('denied', `Consul: ${what}`);
      return conflictAt(wire[error?.OpIndex ?? -1]?.op, what);
    }
    if (answer.status !== 200) throw refusal('write', answer);
    const indexes = (parse('write', txnCommitted, answer).Results ?? []).map(({ KV }) => KV?.ModifyIndex ?? 0);
    const wroteValue = ops.some((op) => 'value' in op);
    return { outcome: 'committed', index: wroteValue ? BigInt(Math.max(...indexes)) : 0n };
  }

  async createSession(spec: SessionSpec, signal: AbortSignal): Promise<string> {
    const checks = spec.tieToNodeHealth ? [SERF_HEALTH] : [];
    const { nodeName } = this.options;
    const answer = await this.#putSession('create', signal, {
      Name: spec.name,
      TTL: `${String(Math.ceil(spec.ttlMs))}ms`,
      LockDelay: `${String(Math.ceil(spec.lockDelayMs))}ms`,
      Behavior: 'release',
      // Both names of the field, old and new: left out, Consul adds serfHealth.
      Checks: checks,
      NodeChecks: checks,
      ...(nodeName === undefined ? {} : { Node: nodeName }),
    });
    if (answer.status !== 200) throw refusal('write', answer);
    return parse('write', createdSession, answer).ID;
  }

  async renewSession(session: string, signal: AbortSignal): Promise<boolean> {
    const answer = await this.#putSession(`renew/${encodeURIComponent(session)}`, signal);
    if (answer.status === 404 && answer.body.includes(session)) return false;
    if (answer.status !== 200) throw refusal('write', answer);
    return true;
  }

  async destroySession(session: string, signal: AbortSignal): Promise<void> {
    const answer = await this.#putSession(`destroy/${encodeURIComponent(session)}`, signal);
    if (answer.status !== 200) throw refusal('write', answer);
  }

  async members(signal: AbortSignal): Promise<Member[]> {
    const answer = await this.#send('read', {
      method: 'GET',
      path: '/v1/health/state/any',
      query: { filter: `CheckID == "${SERF_HEALTH}"`, consistent: '' },
      signal,
    });
    if (answer.status !== 200) throw refusal('read', answer);
    if (answer.headers['x-consul-results-filtered-by-acls'] === 'true') {
      throw new StoreError('denied', "Consul: the token may not read all nodes' health");
    }
    return parse('read', healthChecks, answer).filter(({ CheckID }) => CheckID === SERF_HEALTH).map(memberOf);
  }

  #putSession(verb: string, signal: AbortSignal, body?: object): Promise<HttpAnswer> {
    const text = body === undefined ? {} : { body: JSON.stringify(body) };
    return this.#send('write', { method: 'PUT', path: `/v1/session/${verb}`, signal, ...text });
  }

  /** A read under /v1/kv/: 200, or a 404 that says "no such key" and not "no such page". */
  async #read(
    key: string,
    query: Record<string, string>,
    { consistency, signal }: DriverReadOptions,
  ): Promise<{ answer: HttpAnswer; index: bigint }> {
    const answer = await this.#send('read', {
      method: 'GET',
      path: `/v1/kv/${key.split('/').map(encodeURIComponent).join('/')}`,
      query: { ...query, ...consistencyQuery(consistency) },
      signal,
    });
    const index = answer.headers['x-consul-index'];
    const known = typeof index === 'string' && /^\d+$/.test(index);
    if (answer.status !== 200 && answer.status !== 404) throw refusal('read', answer);
    if (!known) throw notConsul('read', `${String(answer.status)} without X-Consul-Index`);
    if (answer.headers['x-consul-knownleader'] === 'false' && consistency !== 'stale') {
      throw new StoreError('unavailable', 'Consul: the answer is of a server that knows no leader');
    }
    return { answer, index: BigInt(index) };
  }

  async #send(kind: CallKind, request: HttpRequest): Promise<HttpAnswer> {
    const { datacenter } = this.options;
    const query = datacenter === undefined ? request.query : { ...request.query, dc: datacenter };
    try {
      return await this.client.send({ ...request, ...(query === undefined ? {} : { query }) });
    } catch (error) {
      if (!(error instanceof NotAnswered)) throw error;
      const lost = kind === 'write' && error.sent;
      const message = lost
        ? `Consul: no answer to a write that was sent (${error.message})`
        : `Consul cannot be reached (${error.message})`;
      throw new StoreError(lost ? 'unknown-outcome' : 'unavailable', message, { cause: error });
    }
  }
}

function consistencyQuery(consistency: Consistency): Record<string, string> {
  return consistency === 'default' ? {} : { [consistency]: '' };
}

/** What an answer means that is none. Texts are Consul's, cut short; they never hold a token. */
function refusal(kind: CallKind, { status, body }: HttpAnswer): StoreError {
  const message = `Consul answered ${String(status)}: ${body.trim().slice(0, 200)}`;
  if (status === 401 || status === 403) return new StoreError('denied', message);
  // Refused for load, and refused for lack of a leader to hand it to: nothing was done.
  if (status === 429 || /no cluster leader\s*$/i.test(body)) return new StoreError('unavailable', message);
  if (status >= 400 && status < 500) return new StoreError('invalid', message);
  if (body.startsWith('Invalid Session TTL')) return new StoreError('invalid', message);
  // Any other failure may have come after the write reached the leader ("leadership lost while committing log").
  return new StoreError(kind === 'write' ? 'unknown-outcome' : 'unavailable', message);
}

/** Something answered that does not speak as Consul does: a proxy, a wrong port. */
function notConsul(kind: CallKind, why: string): StoreError {
  const message = `this is not an answer of Consul (${why})`;
  return new StoreError(kind === 'write' ? 'unknown-outcome' : 'unavailable', message);
}

function parse<Schema extends z.ZodType>(kind: CallKind, schema: Schema, answer: HttpAnswer): z.infer<Schema> {
  let json: unknown;
  try {
    json = JSON.parse(answer.body);
  } catch {
    throw notConsul(kind, 'no JSON');
  }
  const parsed = schema.safeParse(json);
  if (!parsed.success) throw notConsul(kind, z.prettifyError(parsed.error));
  return parsed.data;
}
