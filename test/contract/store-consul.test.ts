// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import http from 'node:http';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { systemClock } from '../../services/platform/clock/system.js';
import { systemRandom } from '../../services/platform/random/system.js';
import { storeOn } from '../../services/platform/store/assemble.js';
import { createConsulDriver, type ConsulOptions } from '../../services/platform/store/consul.js';
import { StoreError, type LeaseOptions, type Store } from '../../services/platform/store/store.js';
import { findConsul, startConsul, type ConsulServer } from './consul.js';
import { Faults, startRelay } from './store-faults.js';

const env = { clock: systemClock, random: systemRandom };

function open(options: Omit<ConsulOptions, 'clock' | 'random' | 'log'>): Store {
  return storeOn(createConsulDriver({ ...options, ...env }), env);
}

const LEASE: LeaseOptions = {
  key: 'contract/lock',
  name: 'h1',
  value: (previous) => String(Number(previous ?? 0) + 1),
  ttlMs: 2_000,
  renewEveryMs: 400,
  giveUpAfterMs: 1_200,
  lockDelayMs: 0,
  retryEveryMs: 100,
};

async function failureOf(promise: Promise<unknown>): Promise<StoreError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof StoreError) return error;
  throw new Error(`not a StoreError but ${String(error)}`);
}

/** How each kind of call fails on this store. */
async function failureKinds(store: Store): Promise<string[]> {
  const calls: Promise<unknown>[] = [
    store.get('contract/a'),
    store.list('contract/'),
    store.txn([{ op: 'set', key: 'contract/a', value: 'x' }]),
    store.acquire({ ...LEASE, retryEveryMs: 1 }),
  ];
  return Promise.all(calls.map(async (call) => (await failureOf(call)).kind));
}

async function serve(answer: (response: http.ServerResponse) => void): Promise<string> {
  const server = http.createServer((request, response) => {
    request.resume().once('end', () => {
      answer(response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const bound = server.address();
  return `http://127.0.0.1:${String(bound !== null && typeof bound === 'object' ? bound.port : 0)}`;
}

describe('Consul that is not there', () => {
  it('and nobody listens: nothing was done, by a read or a write', async () => {
    const address = await serve(() => undefined);
    const port = Number(new URL(address).port);
    const elsewhere = open({ address: `http://127.0.0.2:${String(port)}` });
    expect(await failureKinds(elsewhere)).toEqual(['unavailable', 'unavailable', 'unavailable', 'unavailable']);
    expect((await failureOf(elsewhere.get('contract/a'))).message).toContain('ECONNREFUSED');
  });

  it.each(['127.0.0.1:8500', 'ftp://127.0.0.1', 'http://user:hunter2@127.0.0.1:8500', ''])(
    'and its address %j cannot be one: refused at once, the address not repeated',
    (address) => {
      let failure: unknown;
      try {
        open({ address });
      } catch (error) {
        failure = error;
      }
      expect(failure).toMatchObject({ kind: 'invalid' });
      expect(String(failure)).not.toContain('hunter2');
    },
  );

  it.each([
    ['a web page', 200, '<html>'],
    ['a page that is not found', 404, 'not found'],
    ['another JSON', 200, '{"hello": "world"}'],
    ['a redirection', 301, ''],
    ['an empty answer', 200, ''],
  ])('and %s answers: never an absent key, and a write is unsure', async (_, status, text) => {
    const address = await serve((response) => {
      response.writeHead(status, { 'x-consul-index': status === 404 ? '' : '7' }).end(text);
    });
    const store = open({ address });
    expect((await failureOf(store.get('contract/a'))).kind).toBe('unavailable');
    expect((await failureOf(store.list('contract/'))).kind).toBe('unavailable');
    const write = await failureOf(store.txn([{ op: 'set', key: 'contract/a', value: 'x' }]));
    expect(write.kind).toBe(status === 404 ? 'invalid' : 'unknown-outcome');
  });

  it('and its answer is cut in the middle: a read fails, a write is unsure', async () => {
    const address = await serve((response) => {
      response.writeHead(200, { 'x-consul-index': '7', 'content-length': '100' }).write('[{"Key": "contract/a"', () => {
        response.destroy();
      });
    });
    const store = open({ address });
    expect((await failureOf(store.get('contract/a'))).kind).toBe('unavailable');
    const write = await failureOf(store.txn([{ op: 'set', key: 'contract/a', value: 'x' }]));
    expect(write.kind).toBe('unknown-outcome');
  });

  it('and closes a kept-alive connection just as it is used again: a read is repeated, a write is unsure', async () => {
    const used = new WeakSet();
    const address = await serve((response) => {
      const { socket } = response;
      if (socket === null || used.has(socket)) {
        response.destroy();
      } else {
        used.add(socket);
        response.writeHead(404, { 'x-consul-index': '7' }).end();
      }
    });
    const store = open({ address });
    for (let i = 0; i < 3; i++) expect(await store.get('contract/a')).toBeUndefined();
    const write = await failureOf(store.txn([{ op: 'set', key: 'contract/a', value: 'x' }]));
    expect(write.kind).toBe('unknown-outcome');
  });

  it('and takes the connection without a word of TLS: given up on early, with nothing sent', async () => {
    const sockets: Socket[] = [];
    const silent = createServer((socket) => sockets.push(socket));
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => {
      for (const socket of sockets) socket.destroy();
      silent.close();
    });
    const bound = silent.address();
    const port = bound !== null && typeof bound === 'object' ? bound.port : 0;
    const store = open({ address: `https://127.0.0.1:${String(port)}` });
    const write = await failureOf(store.txn([{ op: 'set', key: 'contract/a', value: 'x' }]));
    expect(write.kind).toBe('unavailable');
    expect(write.message).toContain('no connection within');
  });

  it('and a server without a leader answers: not taken for the truth unless stale will do', async () => {
    const address = await serve((response) => {
      response.writeHead(404, { 'x-consul-index': '7', 'x-consul-knownleader': 'false' }).end();
    });
    const store = open({ address });
    expect((await failureOf(store.get('contract/a'))).kind).toBe('unavailable');
    expect(await store.get('contract/a', { consistency: 'stale' })).toBeUndefined();
  });
});

describe('a Consul server', () => {
  let server: ConsulServer;
  beforeAll(async () => {
    server = await startConsul();
  });
  afterAll(async () => {
    await server.dispose();
  });

  it('that crashes and comes back: clear errors meanwhile, nothing lost, and the watch goes on', async () => {
    const store = open({ address: server.address });
    await store.txn([{ op: 'set', key: 'contract/w/a', value: '1' }]);
    const stop = new AbortController();
    const shown: string[] = [];
    const troubles: string[] = [];
    const watching = (async () => {
      const onTrouble = ({ kind }: StoreError): void => void troubles.push(kind);
      for await (const { entries } of store.watch('contract/w/', { signal: stop.signal, onTrouble })) {
        shown.push(entries.map(({ value }) => value).join());
      }
    })();
    const lease = await store.acquire(LEASE);
    await expect.poll(() => shown).toEqual(['1']);
    await server.kill();
    expect(await failureKinds(store)).toEqual(['unavailable', 'unavailable', 'unavailable', 'unavailable']);
    await expect.poll(() => lease.lost.aborted, { timeout: 3_000 }).toBe(true);
    await server.restart();
    expect(await store.get('contract/w/a', { consistency: 'consistent' })).toMatchObject({ value: '1' });
    await store.txn([{ op: 'set', key: 'contract/w/a', value: '2' }]);
    await expect.poll(() => shown, { timeout: 8_000 }).toEqual(['1', '2']);
    expect(new Set(troubles)).toEqual(new Set(['unavailable']));
    const next = await store.acquire({ ...LEASE, tries: 100 });
    expect(next.value).toBe('2');
    await next.release();
    stop.abort();
    await watching;
  });

  it('is asked for the consistency that the caller wants', async () => {
    const relay = await startRelay(server.address, new Faults());
    onTestFinished(() => relay.close());
    await open({ address: server.address }).txn([{ op: 'set', key: 'contract/a', value: '' }]);
    const store = open({ address: relay.address });
    await store.get('contract/a', { consistency: 'consistent' });
    await store.list('contract/', { consistency: 'stale' });
    await store.get('contract/a');
    expect(relay.asked.map((line) => new URL(line.split(' ')[1] ?? '', relay.address).search)).toEqual([
      '?consistent=',
      '?recurse=&stale=',
      '',
    ]);
  });

  it('with a session TTL below its floor: the request is refused as invalid, at once', async () => {
    const store = open({ address: server.address });
    const times = { ttlMs: 1_000, renewEveryMs: 300, giveUpAfterMs: 900 };
    const failure = await failureOf(store.acquire({ ...LEASE, ...times, key: 'contract/short' }));
    expect(failure.kind).toBe('invalid');
    expect(failure.message).toContain('TTL');
  });
});

describe('a Consul server with access control', () => {
  let server: ConsulServer;
  beforeAll(async () => {
    server = await startConsul({ acl: true });
  });
  afterAll(async () => {
    await server.dispose();
  });

  const wrong = 'deadbeef-2222-3333-4444-555555555555';

  it.each([
    ['a token nobody knows', wrong],
    ['no token', undefined],
  ])('denies every call with %s, and shows no folder as empty', async (_, token) => {
    const store = open({ address: server.address, ...(token === undefined ? {} : { token }) });
    expect(await failureKinds(store)).toEqual(['denied', 'denied', 'denied', 'denied']);
    const { message } = await failureOf(store.get('contract/a'));
    expect(message).toMatch(/ACL not found|Permission denied/);
    expect(message).not.toContain(wrong);
  });

  it('tells the watcher that it is denied', async () => {
    const store = open({ address: server.address, token: wrong });
    const stop = new AbortController();
    const troubles: string[] = [];
    const onTrouble = ({ kind }: StoreError): void => {
      troubles.push(kind);
      if (troubles.length === 3) stop.abort();
    };
    for await (const listing of store.watch('contract/', { signal: stop.signal, onTrouble })) {
      throw new Error(`shows ${String(listing.entries.length)} entries`);
    }
    expect(troubles).toEqual(['denied', 'denied', 'denied']);
  });

  it('lets the right token do all', async () => {
    const store = open({ address: server.address, ...(server.token === undefined ? {} : { token: server.token }) });
    const lease = await store.acquire(LEASE);
    expect((await store.list('contract/')).entries).toMatchObject([{ key: LEASE.key, value: '1' }]);
    await lease.release();
  });
});

describe('a Consul server that demands certificates', () => {
  let folder: string;
  let server: ConsulServer;
  const run = promisify(execFile);
  const pem = (name: string): Promise<string> => readFile(join(folder, name), 'utf8');

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'lockstep-certs-'));
    const consul = findConsul();
    await run(consul, ['tls', 'ca', 'create'], { cwd: folder });
    await run(consul, ['tls', 'cert', 'create', '-server'], { cwd: folder });
    await run(consul, ['tls', 'cert', 'create', '-client'], { cwd: folder });
    server = await startConsul({
      tls: {
        caFile: join(folder, 'consul-agent-ca.pem'),
        certFile: join(folder, 'dc1-server-consul-0.pem'),
        keyFile: join(folder, 'dc1-server-consul-0-key.pem'),
      },
    });
  });
  afterAll(async () => {
    await server.dispose();
    await rm(folder, { recursive: true, force: true });
  });

  it('serves the client that has one', async () => {
    const tls = {
      ca: await pem('consul-agent-ca.pem'),
      cert: await pem('dc1-client-consul-0.pem'),
      key: await pem('dc1-client-consul-0-key.pem'),
    };
    const store = open({ address: server.secureAddress, tls });
    await store.txn([{ op: 'set', key: 'contract/a', value: 'x' }]);
    expect(await store.get('contract/a')).toMatchObject({ value: 'x' });
    const misnamed = open({ address: server.secureAddress, tls: { ...tls, serverName: 'elsewhere.example' } });
    expect(await failureKinds(misnamed)).toEqual(['unavailable', 'unavailable', 'unavailable', 'unavailable']);
  });

  it('is not trusted without its authority', async () => {
    expect(await failureKinds(open({ address: server.secureAddress }))).toEqual([
      'unavailable',
      'unavailable',
      'unavailable',
      'unavailable',
    ]);
  });
});
