// SPDX-License-Identifier: Apache-2.0
import http from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import type { StoreDriver } from '../../services/platform/store/driver.js';
import { StoreError } from '../../services/platform/store/store.js';

/**
 * What can go wrong between a client and its store. `cut-before`: the line breaks before the store got the request;
 * `cut-after`: the write happened, the answer is lost; `500` and `500-after` likewise, with an error for an answer;
 * `early`: a blocking query is answered at once; `stale`: the answer is one that was remembered, index and all.
 */
type Failure = 'cut-before' | 'cut-after' | '500' | '500-after' | 'no-leader';
export type Fault = Failure | 'hang' | 'slow' | 'early' | 'stale';

/** Which calls a fault hits. A watch is a read that waits. */
export type CallKind = 'read' | 'watch' | 'write' | 'session';

export const SLOW_MS = 250;

/** The faults one client suffers, and what it asked. Relay and decorator both follow it. */
export class Faults {
  readonly calls: Record<CallKind, number> = { read: 0, watch: 0, write: 0, session: 0 };
  readonly #planned = new Map<CallKind, { fault: Fault; left: number }>();
  #memory: Map<string, unknown> | undefined;

  /** The next `times` calls of the kind suffer the fault; all to come, unless told. */
  plan(kind: CallKind, fault: Fault, times = Number.POSITIVE_INFINITY): void {
    this.#planned.set(kind, { fault, left: times });
  }

  heal(): void {
    this.#planned.clear();
  }

  /** The answers from now on, the first to each question, are those that `stale` repeats. */
  remember(): void {
    this.#memory = new Map();
  }

  take(kind: CallKind): Fault | undefined {
    this.calls[kind] += 1;
    const planned = this.#planned.get(kind);
    if (planned === undefined || planned.left === 0) return undefined;
    planned.left -= 1;
    return planned.fault;
  }

  /** Passes the answer on; notes it where it is the first. */
  noted<T>(question: string, answer: T): T {
    if (this.#memory?.has(question) === false) this.#memory.set(question, answer);
    return answer;
  }

  recalled(question: string): unknown {
    if (this.#memory?.has(question) !== true) throw new Error(`no answer to ${question} was remembered`);
    return this.#memory.get(question);
  }
}

/** Faults for a store in this process. */
export function withFaults(driver: StoreDriver, faults: Faults): StoreDriver {
  const run = async <T>(kind: CallKind, question: string, work: (early: boolean) => Promise<T>): Promise<T> => {
    const fault = faults.take(kind);
    const isWrite = kind === 'write' || kind === 'session';
    const lost = isWrite && fault !== 'no-leader';
    const failure = new StoreError(lost ? 'unknown-outcome' : 'unavailable', `injected: ${String(fault)}`);
    switch (fault) {
      case 'cut-before':
      case '500':
      case 'no-leader':
        throw failure;
      case 'cut-after':
      case '500-after':
        await work(false);
        throw failure;
      case 'hang':
        return new Promise<T>(() => undefined);
      case 'slow':
        await delay(SLOW_MS);
        return work(false);
      case 'stale':
        return faults.recalled(question) as T;
      case 'early':
        return work(true);
      case undefined:
        return faults.noted(question, await work(false));
    }
  };
  return {
    get: (key, options) => run('read', `get ${key}`, () => driver.get(key, options)),
    list: (prefix, { wait, ...options }) =>
      run(wait === undefined ? 'read' : 'watch', `list ${prefix}`, (early) =>
        driver.list(prefix, wait === undefined || early ? options : { ...options, wait }),
      ),
    txn: (ops, signal) => run('write', 'txn', () => driver.txn(ops, signal)),
    createSession: (spec, signal) => run('session', 'create', () => driver.createSession(spec, signal)),
    renewSession: (session, signal) => run('session', 'renew', () => driver.renewSession(session, signal)),
    members: (signal) => run('read', 'members', () => driver.members(signal)),
    destroySession: (session, signal) => run('session', 'destroy', () => driver.destroySession(session, signal)),
  };
}

/** Faults between a client and a Consul server: an HTTP relay on a free loopback port. */
export interface Relay {
  readonly address: string;
  /** What was asked, `METHOD URL` each, in order. */
  readonly asked: string[];
  close(): Promise<void>;
}

interface Answer {
  status: number;
  headers: http.IncomingHttpHeaders;
  body: Buffer;
}

export async function startRelay(target: string, faults: Faults): Promise<Relay> {
  const asked: string[] = [];
  const server = http.createServer((request, response) => {
    relay(target, faults, asked, request, response).catch(() => {
      response.destroy();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const bound = server.address();
  const port = bound !== null && typeof bound === 'object' ? bound.port : 0;
  return {
    address: `http://127.0.0.1:${String(port)}`,
    asked,
    close: () =>
      new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
        server.closeAllConnections();
      }),
  };
}

async function relay(
  target: string,
  faults: Faults,
  asked: string[],
  request: http.IncomingMessage,
  response: http.ServerResponse,
): Promise<void> {
  const url = new URL(request.url ?? '/', target);
  asked.push(`${request.method ?? ''} ${request.url ?? ''}`);
  const body = await collect(request);
  const kind = kindOf(request.method, url);
  const question = `${url.pathname}${url.searchParams.has('recurse') ? '?recurse' : ''}`;
  const reply = ({ status, headers, body: text }: Answer): void => {
    response.writeHead(status, headers).end(text);
  };
  const failed = (text: string): void => {
    reply({ status: 500, headers: {}, body: Buffer.from(text) });
  };
  const ask = (): Promise<Answer> => forward(url, request, body, response);
  const fault = faults.take(kind);
  switch (fault) {
    case 'cut-before':
      response.destroy();
      return;
    case 'cut-after':
      await ask();
      response.destroy();
      return;
    case '500':
      failed('rpc error making call: leadership lost while committing log');
      return;
    case '500-after':
      await ask();
      failed('rpc error making call: leadership lost while committing log');
      return;
    case 'no-leader':
      failed('No cluster leader');
      return;
    case 'hang':
      return;
    case 'stale':
      reply(faults.recalled(question) as Answer);
      return;
    case 'slow':
      await delay(SLOW_MS);
      reply(await ask());
      return;
    case 'early':
      url.searchParams.delete('index');
      url.searchParams.delete('wait');
      reply(await ask());
      return;
    case undefined:
      reply(faults.noted(question, await ask()));
  }
}

function kindOf(method: string | undefined, url: URL): CallKind {
  if (url.pathname.startsWith('/v1/session/')) return 'session';
  if (method !== 'GET') return 'write';
  return url.searchParams.has('index') ? 'watch' : 'read';
}

/** Asks the target in the client's stead; a client that goes away takes its question with it. */
function forward(
  url: URL,
  { method, headers }: http.IncomingMessage,
  body: Buffer,
  response: http.ServerResponse,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const question = http.request(url, { method, headers: { ...headers, host: url.host }, agent: false });
    response.once('close', () => question.destroy());
    question.once('error', reject);
    question.once('response', (answer) => {
      collect(answer).then((text) => {
        // How the answer is framed is an affair between the relay and its client.
        const framing = ['connection', 'transfer-encoding', 'content-length'];
        const kept = Object.entries(answer.headers).filter(([name]) => !framing.includes(name));
        resolve({ status: answer.statusCode ?? 0, headers: Object.fromEntries(kept), body: text });
      }, reject);
    });
    question.end(body);
  });
}

async function collect(stream: http.IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) {
    if (Buffer.isBuffer(chunk)) chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
