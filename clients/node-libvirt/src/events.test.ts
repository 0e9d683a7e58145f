// SPDX-License-Identifier: Apache-2.0
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Connection, connect } from './connection.js';
import type { LifecycleEvent } from './events.js';
import { MessageType, PROGRAM, Status, encodeFrame } from './frame.js';
import { eventMessages, procedures } from './procedures.js';
import type { EventsLost } from './subscription.js';
import { FakeServer } from './testing/fake-server.js';

const dom = { name: 'vm', uuid: '00112233-4455-6677-8899-aabbccddeeff', id: 3 };
const lifecycle = eventMessages.domainEventCallbackLifecycle;
const message = (callbackId: number, detail: number) => ({ callbackId, msg: { dom, event: 4, detail } });

let server: FakeServer;
let connection: Connection;

beforeEach(async () => {
  server = await FakeServer.listen();
  connection = await connect({ socketPath: server.socketPath, keepaliveIntervalMs: 0 });
});
afterEach(async () => {
  await connection.close();
  await server.stop();
});

const brief = (event: LifecycleEvent | EventsLost | undefined): string => {
  if (event === undefined) return 'end';
  return event.kind === 'lost' ? `lost ${String(event.count)}` : `detail ${String(event.detail)}`;
};

describe('events', () => {
  it('come in order, typed by their kind', async () => {
    const events = await connection.events.subscribe(['lifecycle', 'migration-iteration', 'job-completed']);
    const peer = server.lastPeer;
    peer.event(lifecycle, message(1, 1));
    peer.event(eventMessages.domainEventCallbackMigrationIteration, { callbackId: 2, dom, iteration: 5 });
    peer.event(eventMessages.domainEventCallbackJobCompleted, {
      callbackId: 3,
      dom,
      params: [
        { name: 'downtime', type: 'ullong', value: 24n },
        { name: 'memory_total', type: 'ullong', value: 2n ** 60n },
        { name: 'success', type: 'boolean', value: true },
      ],
    });
    expect((await events.next()).value).toEqual({ kind: 'lifecycle', domain: dom, change: 4, detail: 1 });
    expect((await events.next()).value).toEqual({ kind: 'migration-iteration', domain: dom, iteration: 5 });
    expect((await events.next()).value).toMatchObject({
      kind: 'job-completed', domain: dom, job: { downtimeMs: 24, memoryTotalBytes: 2n ** 60n, success: true },
    });
  });

  it('are not lost around the registration: neither before its reply nor in one piece with it', async () => {
    server.handle(procedures.connectDomainEventCallbackRegisterAny, (_, call) => {
      const { peer } = call;
      peer.write(Buffer.concat([
        peer.eventFrame(lifecycle, message(9, 0)),
        call.replyFrame({ callbackId: 9 }),
        peer.eventFrame(lifecycle, message(9, 1)),
      ]));
    });
    const events = await connection.events.subscribe(['lifecycle']);
    expect([brief((await events.next()).value), brief((await events.next()).value)]).toEqual(['detail 0', 'detail 1']);
  });

  it('that nobody takes do not hold up calls; the consumer hears how many it missed', async () => {
    const events = await connection.events.subscribe(['lifecycle'], { bufferSize: 2 });
    for (let detail = 0; detail < 10_000; detail += 1) server.lastPeer.event(lifecycle, message(1, detail));
    expect(await connection.host.hostname()).toBe('fake');
    const seen = [brief((await events.next()).value)];
    server.lastPeer.event(lifecycle, message(1, 77));
    await connection.host.hostname();
    for (let count = 0; count < 3; count += 1) seen.push(brief((await events.next()).value));
    expect(seen).toEqual(['detail 0', 'detail 1', 'lost 9998', 'detail 77']);
  });

  it('that cannot be read count as lost', async () => {
    const events = await connection.events.subscribe(['lifecycle']);
    const { number: procedure } = lifecycle;
    server.lastPeer.write(encodeFrame({
      program: PROGRAM.remote, procedure, type: MessageType.message, serial: 0, status: Status.ok,
    }, Buffer.from([0, 0, 0, 1])));
    expect(brief((await events.next()).value)).toBe('lost 1');
  });

  it('end with an error when the connection does, after what had come', async () => {
    const events = await connection.events.subscribe(['lifecycle']);
    server.lastPeer.event(lifecycle, message(1, 3));
    server.lastPeer.socket.end();
    const seen: string[] = [];
    const consume = async (): Promise<void> => { for await (const event of events) seen.push(brief(event)); };
    await expect(consume()).rejects.toMatchObject({ name: 'LibvirtClosedError', reason: 'remote' });
    expect(seen).toEqual(['detail 3']);
  });

  it('leave no consumer waiting when the connection ends', async () => {
    const events = await connection.events.subscribe(['lifecycle']);
    const waiting = Promise.allSettled([events.next(), events.next()]);
    server.lastPeer.socket.destroy();
    expect((await waiting).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
  });

  it('just stop when their user closes the connection', async () => {
    const events = await connection.events.subscribe(['lifecycle']);
    const waiting = events.next();
    await connection.close();
    expect(await waiting).toEqual({ done: true, value: undefined });
  });

  it('are deregistered when the loop over them is left', async () => {
    const left: number[] = [];
    server.handle(procedures.connectDomainEventCallbackDeregisterAny, ({ callbackId }, call) => {
      left.push(callbackId);
      call.reply(undefined);
    });
    const events = await connection.events.subscribe(['lifecycle', 'job-completed']);
    server.lastPeer.event(lifecycle, message(1, 1));
    for await (const event of events) {
      expect(event.kind).toBe('lifecycle');
      break;
    }
    expect(left).toEqual([1, 2]);
    expect(await events.next()).toEqual({ done: true, value: undefined });
  });

  it('of which one kind is refused are not subscribed at all', async () => {
    let registered = 0;
    const left: number[] = [];
    server.handle(procedures.connectDomainEventCallbackRegisterAny, ({ eventId }, call) => {
      registered += 1;
      if (eventId === 21) call.fail(3, 'not supported');
      else call.reply({ callbackId: registered });
    });
    server.handle(procedures.connectDomainEventCallbackDeregisterAny, ({ callbackId }, call) => {
      left.push(callbackId);
      call.reply(undefined);
    });
    await expect(connection.events.subscribe(['lifecycle', 'job-completed'])).rejects.toThrow('not supported');
    expect(left).toEqual([1]);
  });
});
