// SPDX-License-Identifier: Apache-2.0
// The connection against a server that misbehaves in every way we could think of.
import { getEventListeners, once } from 'node:events';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MAX_IN_FLIGHT, MAX_QUEUED } from './calls.js';
import { type ConnectOptions, type Connection, connect } from './connection.js';
import type { LibvirtClosedError} from './errors.js';
import { LibvirtDeadlineError, isLibvirtError } from './errors.js';
import { HEADER_BYTES, MessageType, Status } from './frame.js';
import { eventMessages, procedures } from './procedures.js';
import { FakeServer } from './testing/fake-server.js';

const DOMAIN = { name: 'vm', uuid: '00112233-4455-6677-8899-aabbccddeeff', id: 3 };

let server: FakeServer;
const open: Connection[] = [];

beforeEach(async () => { server = await FakeServer.listen(); });
afterEach(async () => {
  await Promise.all(open.splice(0).map((connection) => connection.close()));
  await server.stop();
});

async function connected(options: ConnectOptions = {}): Promise<Connection> {
  const connection = await connect({ socketPath: server.socketPath, keepaliveIntervalMs: 0, ...options });
  open.push(connection);
  return connection;
}

/** How a promise ends, without leaving it unhandled in the meantime. */
const failureOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then((value) => { throw new Error(`did not fail: ${JSON.stringify(value)}`); }, (error: unknown) => error);

async function ended(connection: Connection): Promise<LibvirtClosedError> {
  if (!connection.closed.aborted) await once(connection.closed, 'abort');
  return connection.closed.reason as LibvirtClosedError;
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => { setTimeout(resolve, 1); });
}

describe('connecting', () => {
  it('authenticates, asks for keepalive and then opens the driver', async () => {
    const uris: (string | null)[] = [];
    server.handle(procedures.connectOpen, ({ name }, call) => {
      uris.push(name);
      call.reply(undefined);
    });
    await connected({ uri: 'test:///default' });
    expect(uris).toEqual(['test:///default']);
    expect(server.received).toEqual([
      procedures.authList.number, procedures.connectSupportsFeature.number, procedures.connectOpen.number,
    ]);
  });

  it('uses polkit where libvirt asks for it', async () => {
    let asked = false;
    server.handle(procedures.authList, (_, call) => { call.reply({ types: [2] }); });
    server.handle(procedures.authPolkit, (_, call) => {
      asked = true;
      call.reply({ complete: true });
    });
    await connected();
    expect(asked).toBe(true);
  });

  it('refuses SASL and says what to set', async () => {
    server.handle(procedures.authList, (_, call) => { call.reply({ types: [1] }); });
    await expect(connected()).rejects.toThrow(/SASL.*auth_unix_rw/);
  });

  it('names the path of a socket that is not there', async () => {
    const socketPath = `${server.socketPath}-absent`;
    await expect(connected({ socketPath })).rejects.toMatchObject({
      name: 'LibvirtConnectError', socketPath, cause: { code: 'ENOENT' },
    });
  });

  it('passes on that libvirt refuses the driver, and closes the socket', async () => {
    server.handle(procedures.connectOpen, (_, call) => { call.fail(5, 'no connection driver available'); });
    const error = await failureOf(connected({ uri: 'nonsense:///' }));
    expect(isLibvirtError(error, 'NO_CONNECT')).toBe(true);
    await until(() => server.lastPeer.socket.destroyed);
  });

  it('gives up within its time limit when libvirt takes the connection and does nothing', async () => {
    server.hang(procedures.authList);
    const error = await failureOf(connected({ connectTimeoutMs: 50 }));
    expect(error).toBeInstanceOf(LibvirtDeadlineError);
    await until(() => server.lastPeer.socket.destroyed);
  });

  it('gives up when its signal fires', async () => {
    server.hang(procedures.connectOpen);
    const controller = new AbortController();
    const failure = failureOf(connected({ signal: controller.signal }));
    await until(() => server.received.includes(procedures.connectOpen.number));
    controller.abort(new Error('enough'));
    expect(await failure).toMatchObject({ name: 'AbortError', cause: { message: 'enough' } });
    expect(getEventListeners(controller.signal, 'abort')).toEqual([]);
  });

  it('leaves no socket behind when it is given up at once', async () => {
    const controller = new AbortController();
    const failure = failureOf(connected({ signal: controller.signal }));
    controller.abort();
    expect(await failure).toMatchObject({ name: 'AbortError', procedure: 'connect', sent: false });
    await connected();
    await until(() => server.peers.slice(0, -1).every(({ socket }) => socket.destroyed));
    expect(getEventListeners(controller.signal, 'abort')).toEqual([]);
  });
});

describe('calls', () => {
  it('tell an error by its code, names and text', async () => {
    server.handle(procedures.domainLookupByName, (_, call) => { call.fail(42, 'no domain with that name'); });
    const connection = await connected();
    await expect(connection.domains.lookupByName('x')).rejects.toMatchObject({
      name: 'LibvirtError', code: 42, codeName: 'NO_DOMAIN', domain: 10, domainName: 'QEMU',
      procedure: 'domainLookupByName', message: 'no domain with that name',
    });
  });

  it('end at their deadline and leave the connection and other calls alone', async () => {
    server.hang(procedures.domainMemoryStats);
    const connection = await connected();
    await expect(connection.domains.memoryStats(DOMAIN, { deadlineMs: 20 })).rejects.toMatchObject({
      name: 'LibvirtDeadlineError', procedure: 'domainMemoryStats', sent: true,
    });
    expect(await connection.host.hostname()).toBe('fake');
    expect(connection.load).toMatchObject({ inFlight: 1, abandoned: 1 });
  });

  it('drop a late reply by its serial and have the slot back', async () => {
    const hung = server.hang(procedures.domainMemoryStats);
    const connection = await connected();
    await failureOf(connection.domains.memoryStats(DOMAIN, { deadlineMs: 20 }));
    hung[0]?.reply({ stats: [] });
    expect(await connection.host.hostname()).toBe('fake');
    expect(connection.load).toEqual({ inFlight: 0, abandoned: 0, queued: 0, lateReplies: 1 });
  });

  it('are never more than four at the server; the fifth waits under its own deadline and was not sent', async () => {
    const hung = server.hang(procedures.domainMemoryStats);
    const connection = await connected();
    const failures = Array.from({ length: MAX_IN_FLIGHT }, () =>
      failureOf(connection.domains.memoryStats(DOMAIN, { deadlineMs: 20 })));
    await Promise.all(failures);
    expect(await failureOf(connection.host.hostname({ deadlineMs: 20 }))).toMatchObject({
      name: 'LibvirtDeadlineError', sent: false,
    });
    expect(server.received.filter((procedure) => procedure === procedures.connectGetHostname.number)).toEqual([]);
    expect(connection.load).toMatchObject({ inFlight: 4, abandoned: 4, queued: 0 });
    const waiting = connection.host.hostname();
    hung[2]?.reply({ stats: [] });
    expect(await waiting).toBe('fake');
  });

  it('beyond the bound of the queue fail at once', async () => {
    server.hang(procedures.connectGetHostname);
    const connection = await connected();
    const failures = Array.from({ length: MAX_IN_FLIGHT + MAX_QUEUED }, () => failureOf(connection.host.hostname()));
    await expect(connection.host.hostname()).rejects.toMatchObject({ name: 'LibvirtBusyError', sent: false });
    await connection.close();
    const kinds = (await Promise.all(failures)).map((error) => (error as LibvirtClosedError).sent);
    expect(kinds.filter((sent) => sent)).toHaveLength(MAX_IN_FLIGHT);
  });

  it('given up by their signal say whether they were sent, and leave no listener', async () => {
    server.hang(procedures.connectGetHostname);
    const connection = await connected();
    const controller = new AbortController();
    const failures = Array.from({ length: 5 }, () =>
      failureOf(connection.host.hostname({ signal: controller.signal, deadlineMs: 'none' })));
    controller.abort(new Error('not wanted'));
    const errors = await Promise.all(failures);
    expect(errors.map((error) => (error as { sent: boolean }).sent)).toEqual([true, true, true, true, false]);
    expect(errors[0]).toMatchObject({ name: 'AbortError', cause: { message: 'not wanted' } });
    expect(getEventListeners(controller.signal, 'abort')).toEqual([]);
    expect(connection.closed.aborted).toBe(false);
    expect(await failureOf(connection.host.hostname({ signal: controller.signal }))).toMatchObject({ sent: false });
  });

  it('leave no listener on a signal that lives long', async () => {
    const connection = await connected();
    const { signal } = new AbortController();
    for (let round = 0; round < 20; round += 1) await connection.host.hostname({ signal });
    expect(getEventListeners(signal, 'abort')).toEqual([]);
  });

  it('with an argument the protocol cannot carry fail before anything is sent', async () => {
    const connection = await connected();
    const before = server.received.length;
    await expect(connection.domains.lookupByName('a\0b')).rejects.toThrow(/domainLookupByName: .*NUL/);
    await expect(connection.domains.list(-1)).rejects.toThrow(/unsigned/);
    await expect(connection.domains.defineXml('x'.repeat(4_194_305))).rejects.toThrow(/bound/);
    expect(server.received).toHaveLength(before);
    expect(connection.load.inFlight).toBe(0);
  });

  it('fail alone when their reply cannot be read', async () => {
    const connection = await connected();
    server.handle(procedures.connectGetUri, (_, call) => {
      call.peer.write(call.rawFrame(Status.ok, Buffer.from([0, 0, 0, 9, 65])));
    });
    server.handle(procedures.domainSuspend, (_, call) => {
      call.peer.write(call.rawFrame(Status.ok, Buffer.alloc(4)));
    });
    server.handle(procedures.domainResume, (_, call) => {
      call.peer.write(call.rawFrame(7, Buffer.alloc(0)));
    });
    server.handle(procedures.domainReboot, (_, call) => {
      call.peer.write(call.rawFrame(Status.error, Buffer.alloc(3)));
    });
    const name = 'LibvirtProtocolError';
    expect(await failureOf(connection.host.uri())).toMatchObject({ name, message: /connectGetUri.*ends early/ });
    expect(await failureOf(connection.domains.suspend(DOMAIN))).toMatchObject({ name, message: /left over/ });
    expect(await failureOf(connection.domains.resume(DOMAIN))).toMatchObject({ name, message: /status 7/ });
    expect(await failureOf(connection.domains.reboot(DOMAIN))).toMatchObject({ name, message: /error reply/ });
    expect(await connection.host.hostname()).toBe('fake');
  });

  it('get their reply wherever it is cut', async () => {
    const connection = await connected();
    const length = HEADER_BYTES + 8;
    for (let cut = 1; cut < length; cut += 1) {
      server.handle(procedures.connectGetHostname, (_, call) => {
        const frame = call.replyFrame({ hostname: 'cut!' });
        call.peer.write(frame.subarray(0, cut));
        setImmediate(() => { call.peer.write(frame.subarray(cut)); });
      });
      expect(await connection.host.hostname()).toBe('cut!');
    }
  });

  it('pass over streams, foreign programs and replies to nobody', async () => {
    const connection = await connected();
    server.lastPeer.frame({ type: MessageType.stream, serial: 1 });
    server.lastPeer.frame({ type: MessageType.streamHole, serial: 1 });
    server.lastPeer.frame({ type: MessageType.reply, serial: 4711 });
    server.lastPeer.frame({ type: MessageType.message, procedure: 999 });
    expect(await connection.host.hostname()).toBe('fake');
  });
});

describe('the end of a connection', () => {
  it.each<[string, Buffer]>([
    ['garbage', Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')],
    ['a length of four gigabytes', Buffer.from([0xff, 0xff, 0xff, 0xff])],
    ['a length below a header', Buffer.from([0, 0, 0, 8, 1, 2, 3, 4])],
  ])('comes with the reason protocol for %s, and no call is left hanging', async (_, bytes) => {
    server.hang(procedures.connectGetHostname);
    const connection = await connected();
    const failures = Array.from({ length: 6 }, () => failureOf(connection.host.hostname({ deadlineMs: 'none' })));
    server.lastPeer.write(bytes);
    const errors = await Promise.all(failures) as LibvirtClosedError[];
    expect(errors.map(({ reason, sent }) => [reason, sent])).toEqual(
      [true, true, true, true, false, false].map((sent) => ['protocol', sent]),
    );
    expect(connection.closeError?.reason).toBe('protocol');
  });

  it('comes when the server passes file descriptors', async () => {
    const connection = await connected();
    server.lastPeer.frame({ type: MessageType.replyWithFds, serial: 1 });
    expect(await ended(connection)).toMatchObject({ reason: 'protocol', message: /file descriptors/ });
  });

  it('comes when libvirt dies in the middle of a reply', async () => {
    const connection = await connected();
    server.handle(procedures.connectGetHostname, (_, call) => {
      call.peer.socket.end(call.replyFrame({ hostname: 'x' }).subarray(0, 20));
    });
    const errors = await Promise.all([
      failureOf(connection.host.hostname({ deadlineMs: 'none' })),
      failureOf(connection.host.hostname({ deadlineMs: 'none' })),
    ]);
    expect(errors).toMatchObject([{ reason: 'remote', sent: true }, { reason: 'remote', sent: true }]);
  });

  it('comes when libvirt hangs up without reading what we sent last', async () => {
    const connection = await connected();
    server.lastPeer.socket.pause();
    const sent = failureOf(connection.domains.defineXml('x'.repeat(4_000_000)));
    server.lastPeer.socket.end();
    expect(await sent).toMatchObject({ reason: 'remote', sent: true });
  });

  it('is told to later calls, which were not sent; nothing is thrown at large', async () => {
    const connection = await connected();
    server.lastPeer.socket.destroy();
    await ended(connection);
    expect(await failureOf(connection.host.hostname())).toMatchObject({
      name: 'LibvirtClosedError', sent: false, procedure: 'connectGetHostname',
    });
    await connection.close();
  });

  it('is orderly when its user closes it: libvirt is told, and a second close does nothing', async () => {
    const connection = await connected();
    await connection.close();
    await connection.close();
    expect(server.received.at(-1)).toBe(procedures.connectClose.number);
    expect(connection.closeError).toMatchObject({ reason: 'local' });
    await until(() => server.lastPeer.socket.destroyed);
  });
});

describe('keepalive', () => {
  it('ends a connection whose server is silent', async () => {
    const connection = await connected({ keepaliveIntervalMs: 10, keepaliveCount: 2 });
    server.hang(procedures.connectGetHostname);
    server.answerPings = false;
    const error = await failureOf(connection.host.hostname({ deadlineMs: 'none' }));
    expect(error).toMatchObject({ name: 'LibvirtClosedError', reason: 'keepalive', sent: true });
    expect(server.pings).toBe(2);
  });

  it('keeps a connection whose server only answers pings', async () => {
    const connection = await connected({ keepaliveIntervalMs: 10, keepaliveCount: 5 });
    await until(() => server.pings >= 8);
    expect(connection.closed.aborted).toBe(false);
  });

  it('asks nothing of a server that does not have it', async () => {
    server.handle(procedures.connectSupportsFeature, (_, call) => { call.reply({ supported: false }); });
    const connection = await connected({ keepaliveIntervalMs: 5, keepaliveCount: 1 });
    await new Promise((resolve) => { setTimeout(resolve, 50); });
    expect(server.pings).toBe(0);
    expect(await connection.host.hostname()).toBe('fake');
  });

  it("answers the server's pings", async () => {
    await connected();
    server.lastPeer.write(server.lastPeer.pingFrame());
    await until(() => server.pongs === 1);
  });

  it('does not collect answers for a server that asks and does not read', async () => {
    const connection = await connected();
    const events = await connection.events.subscribe(['lifecycle']);
    const peer = server.lastPeer;
    peer.socket.pause();
    const flood = 200_000;
    const pings = Buffer.concat(Array<Buffer>(1000).fill(peer.pingFrame()));
    for (let sent = 0; sent < flood; sent += 1000) peer.write(pings);
    const marker = { callbackId: 1, msg: { dom: DOMAIN, event: 0, detail: 0 } };
    peer.event(eventMessages.domainEventCallbackLifecycle, marker);
    await events.next();
    peer.socket.resume();
    expect(await connection.host.hostname()).toBe('fake');
    expect(server.pongs).toBeGreaterThan(0);
    expect(server.pongs).toBeLessThan(flood / 2);
  });
});
