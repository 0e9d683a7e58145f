// SPDX-License-Identifier: Apache-2.0
import http from 'node:http';
import https from 'node:https';
import type { Clock } from '../clock/clock.js';
import { StoreError } from './store.js';

/** PEM texts. Given a `cert` and `key`, the client identifies itself. */
export interface ConsulTls {
  ca?: string;
  cert?: string;
  key?: string;
  /** The name the server's certificate must carry, where it differs from the address. */
  serverName?: string;
}

export interface HttpRequest {
  method: 'GET' | 'PUT';
  path: string;
  query?: Readonly<Record<string, string>>;
  body?: string;
  signal: AbortSignal;
}

export interface HttpAnswer {
  status: number;
  headers: Readonly<http.IncomingHttpHeaders>;
  body: string;
}

/** There was no whole answer. `sent` false: certainly nobody got the request. */
export class NotAnswered extends Error {
  override readonly name = 'NotAnswered';
  constructor(
    readonly sent: boolean,
    cause: unknown,
  ) {
    const why = cause instanceof Error ? cause.message : String(cause);
    super(why === '' ? codeOf(cause) : why, { cause });
  }
}

/** A host that swallows packets is told apart from a server that is slow. */
const CONNECT_LIMIT_MS = 2_000;
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;

export interface HttpClientOptions {
  address: string;
  token?: string | undefined;
  tls?: ConsulTls | undefined;
  clock: Clock;
}

/** Requests to one address on kept-alive connections, which knows of each failure whether the request was sent. */
export class HttpClient {
  readonly #base: URL;
  readonly #secure: boolean;
  readonly #agent: http.Agent;
  readonly #headers: Record<string, string>;
  readonly #clock: Clock;

  constructor({ address, token, tls, clock }: HttpClientOptions) {
    this.#base = baseOf(address);
    this.#secure = this.#base.protocol === 'https:';
    const keep = { keepAlive: true, keepAliveMsecs: 5_000 };
    const { serverName, ...pems } = tls ?? {};
    this.#agent = this.#secure
      ? new https.Agent({ ...keep, ...pems, ...(serverName === undefined ? {} : { servername: serverName }) })
      : new http.Agent(keep);
    this.#headers = token === undefined ? {} : { 'x-consul-token': token };
    this.#clock = clock;
  }

  /** The answer, whatever its status. Fails with {@link NotAnswered}. The caller's signal must have a deadline. */
  async send(request: HttpRequest): Promise<HttpAnswer> {
    const first = await this.#attempt(request);
    if (!(first instanceof StaleConnection)) return first;
    const second = await this.#attempt(request);
    if (second instanceof StaleConnection) throw new NotAnswered(true, second.cause);
    return second;
  }

  /** Resolves to {@link StaleConnection} where a read may be repeated at once. */
  #attempt({ method, path, query, body, signal }: HttpRequest): Promise<HttpAnswer | StaleConnection> {
    const url = new URL(path, this.#base);
    for (const [name, value] of Object.entries(query ?? {})) url.searchParams.set(name, value);
    const headers = body === undefined ? this.#headers : { ...this.#headers, 'content-type': 'application/json' };

    return new Promise((resolve, reject) => {
      let sent = false;
      const request = (this.#secure ? https : http).request(url, { method, headers, agent: this.#agent, signal });
      const connectLimit = this.#clock.after(CONNECT_LIMIT_MS, () => {
        request.destroy(new Error(`no connection within ${String(CONNECT_LIMIT_MS)} ms`));
      });
      const fail = (error: unknown): void => {
        connectLimit.stop();
        const stale = method === 'GET' && request.reusedSocket && ['ECONNRESET', 'EPIPE'].includes(codeOf(error));
        if (stale) resolve(new StaleConnection(error));
        else reject(new NotAnswered(sent, error));
      };
      request.once('socket', (socket) => {
        const onConnected = (): void => {
          sent = true;
          connectLimit.stop();
        };
        if (request.reusedSocket) onConnected();
        else socket.once(this.#secure ? 'secureConnect' : 'connect', onConnected);
      });
      request.once('error', fail);
      request.once('response', (response) => {
        readBody(response).then((text) => {
          resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text });
        }, fail);
      });
      request.end(body);
    });
  }
}

/** The server had closed a connection that was kept alive, just as it was used again. */
class StaleConnection {
  constructor(readonly cause: unknown) {}
}

async function readBody(response: http.IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response) {
    if (!Buffer.isBuffer(chunk)) continue;
    bytes += chunk.length;
    if (bytes > MAX_ANSWER_BYTES) throw new Error(`the answer is longer than ${String(MAX_ANSWER_BYTES)} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function baseOf(address: string): URL {
  const url = URL.canParse(address) ? new URL(address) : undefined;
  if (url === undefined || !['http:', 'https:'].includes(url.protocol) || url.username !== '' || url.password !== '') {
    // The address itself is not repeated: it may hold a password.
    throw new StoreError('invalid', 'the Consul address must be http://HOST:PORT or https://HOST:PORT');
  }
  return url;
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'no answer';
}
