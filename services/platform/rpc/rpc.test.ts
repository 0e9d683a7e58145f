// SPDX-License-Identifier: Apache-2.0
import { openChannel } from '@lockstep/sdk/transport';
import { VmState } from '@lockstep/sdk/v1';
import { createClient } from 'nice-grpc';
import { HealthDefinition } from 'nice-grpc-server-health';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CATALOGUE, LockstepError, type Reason } from '../../core/errors/catalogue.js';
import { Cancelled, DeadlineExceeded } from '../clock/clock.js';
import { callerOf } from './caller.js';
import { aborted, type Bench, createBench } from './testing/bench.js';
import { openRelay } from './testing/relay.js';

let bench: Bench;
beforeEach(() => {
  bench = createBench();
});
afterEach(() => bench.close());

async function failure(work: Promise<unknown>): Promise<LockstepError> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(LockstepError);
  return error as LockstepError;
}

async function drain(stream: AsyncIterable<unknown>): Promise<number> {
  let messages = 0;
  for await (const message of stream) if (message !== undefined) messages += 1;
  return messages;
}

describe('errors across the wire', () => {
  it('brings every reason of the catalogue back with its message and metadata', async () => {
    const server = await bench.scheduler({
      getVm: ({ vm }) => Promise.reject(new LockstepError(vm as Reason, `because: ü ${vm}`, { vm: 'counter', node: 'h1' })),
    });
    const scheduler = bench.peers().scheduler(server.address);
    for (const reason of Object.keys(CATALOGUE)) {
      const error = await failure(scheduler.getVm({ vm: reason }));
      expect(error.reason).toBe(reason);
      expect(error.message).toBe(`because: ü ${reason}`);
      expect(error.metadata).toMatchObject({ vm: 'counter', node: 'h1' });
    }
  });

  it('lets nothing internal out, and logs it under the ID it answers with', async () => {
    const server = await bench.scheduler({ getVm: () => Promise.reject(new Error('connect to 10.0.0.9 with hunter2')) });
    const error = await failure(bench.peers().scheduler(server.address).getVm({}));
    expect(error.reason).toBe('INTERNAL');
    expect(error.message).not.toMatch(/10\.0\.0\.9|hunter2/);
    const { errorId = 'none' } = error.metadata;
    expect(bench.log.lines.find(({ state }) => state === 'e')?.fields).toMatchObject({ errorId });
  });

  it('names a method that is not built, unary or stream', async () => {
    const server = await bench.scheduler({});
    const scheduler = bench.peers().scheduler(server.address);
    const unary = await failure(scheduler.getVm({}));
    expect(unary).toMatchObject({ reason: 'NOT_IMPLEMENTED', metadata: { method: 'lockstep.v1.SchedulerService/GetVm' } });
    const stream = await failure(drain(scheduler.watchVms({})));
    expect(stream).toMatchObject({ reason: 'NOT_IMPLEMENTED', metadata: { method: 'lockstep.v1.SchedulerService/WatchVms' } });
  });

  it('maps a wait that ran out, and keeps what was streamed before an error', async () => {
    const server = await bench.scheduler({
      getVm: () => Promise.reject(new DeadlineExceeded('Finish on h2', 5)),
      async *watchVms() {
        yield await Promise.resolve({ resumeToken: '1' });
        throw new LockstepError('RESUME_TOKEN_EXPIRED', 'too old');
      },
    });
    const scheduler = bench.peers().scheduler(server.address);
    expect(await failure(scheduler.getVm({}))).toMatchObject({ reason: 'DEADLINE', message: 'Finish on h2: no answer within 5 ms' });
    const seen: string[] = [];
    const watch = async (): Promise<void> => {
      for await (const { resumeToken } of scheduler.watchVms({})) seen.push(resumeToken);
    };
    expect((await failure(watch())).reason).toBe('RESUME_TOKEN_EXPIRED');
    expect(seen).toEqual(['1']);
  });

  it('cuts a monstrous message instead of breaking the connection', async () => {
    const server = await bench.scheduler({
      getVm: () => Promise.reject(new LockstepError('HYPERVISOR_FAILED', 'x'.repeat(1_000_000), { got: 'y'.repeat(1_000_000) })),
    });
    const error = await failure(bench.peers().scheduler(server.address).getVm({}));
    expect(error.reason).toBe('HYPERVISOR_FAILED');
    expect(error.message.length).toBeLessThan(5_000);
  });
});

describe('calls of peers', () => {
  it('is NODE_UNREACHABLE where nobody listens, and works again once somebody does', async () => {
    const first = await bench.scheduler({});
    await first.close();
    const scheduler = bench.peers().scheduler(first.address);
    expect(await failure(scheduler.listNodes({}))).toMatchObject({ reason: 'NODE_UNREACHABLE', metadata: { address: first.address } });
    await bench.scheduler({ listNodes: () => Promise.resolve({ nodes: [{ name: 'h1' }] }) }, { listen: first.address });
    await expect
      .poll(() => scheduler.listNodes({}).then(({ nodes }) => nodes[0]?.name, () => 'unreachable'), { timeout: 8_000 })
      .toBe('h1');
  });

  it('ends at its deadline, and the server stops working for it', async () => {
    let stopped: Promise<void> | undefined;
    const server = await bench.scheduler({
      getVm: async (_request, { signal }) => {
        stopped = aborted(signal);
        await stopped;
        return {};
      },
    });
    const error = await failure(bench.peers().scheduler(server.address).getVm({}, { deadlineMs: 100 }));
    expect(error.reason).toBe('DEADLINE');
    await stopped;
  });

  it('ends streams at their deadline too', async () => {
    const server = await bench.scheduler({
      async *watchVms(_request, { signal }) {
        yield {};
        await aborted(signal);
      },
    });
    expect((await failure(drain(bench.peers().scheduler(server.address).watchVms({}, { deadlineMs: 100 })))).reason).toBe('DEADLINE');
  });

  it('is Cancelled where the caller aborts, unary or stream', async () => {
    const server = await bench.scheduler({
      getVm: (_request, { signal }) => aborted(signal).then(() => ({})),
      async *watchVms(_request, { signal }) {
        yield {};
        await aborted(signal);
      },
    });
    const scheduler = bench.peers().scheduler(server.address);
    const unary = new AbortController();
    const call = scheduler.getVm({}, { signal: unary.signal });
    setTimeout(() => {
      unary.abort(new Error('enough'));
    }, 50);
    await expect(call).rejects.toBeInstanceOf(Cancelled);
    const stream = new AbortController();
    const watch = async (): Promise<void> => {
      for await (const message of scheduler.watchVms({}, { signal: stream.signal })) if (message.gone.length === 0) stream.abort();
    };
    await expect(watch()).rejects.toBeInstanceOf(Cancelled);
  });

  it('tells the handler how much time is left', async () => {
    let leftMs = 0;
    const server = await bench.scheduler({
      getVm: (_request, context) => {
        leftMs = (callerOf(context).deadlineAtMs ?? 0) - performance.now();
        return Promise.resolve({});
      },
    });
    await bench.peers().scheduler(server.address).getVm({}, { deadlineMs: 60_000 });
    expect(leftMs).toBeGreaterThan(50_000);
    expect(leftMs).toBeLessThanOrEqual(60_000);
  });

  it('keeps no more connections than allowed, and a client outlives the loss of its connection', async () => {
    const answer = { getVm: () => Promise.resolve({ vm: { status: { state: VmState.RUNNING } } }) };
    const servers = [await bench.scheduler(answer), await bench.scheduler(answer), await bench.scheduler(answer)];
    const peers = bench.peers({ maxChannels: 2 });
    const clients = servers.map(({ address }) => peers.scheduler(address));
    for (const client of [...clients, ...clients]) {
      expect((await client.getVm({})).vm?.status?.state).toBe(VmState.RUNNING);
    }
  });

  it('refuses a message above the limit', async () => {
    const server = await bench.scheduler({ defineVm: () => Promise.resolve({}) });
    const error = await failure(bench.peers().scheduler(server.address).defineVm({ spec: { domainXml: 'x'.repeat(5 * 1024 * 1024) } }));
    expect(error.message).toMatch(/RESOURCE_EXHAUSTED/);
  });
});

describe('half-open connections', () => {
  it('are noticed on both sides of a stream', async () => {
    const options = { 'grpc.keepalive_time_ms': 300, 'grpc.keepalive_timeout_ms': 300 };
    let handlerEnded: Promise<void> | undefined;
    const server = await bench.scheduler(
      {
        async *watchVms(_request, { signal }) {
          yield {};
          handlerEnded = aborted(signal);
          await handlerEnded;
        },
      },
      { options },
    );
    const relay = await openRelay(server.address);
    const watch = async (): Promise<void> => {
      for await (const message of bench.peers({ options }).scheduler(relay.address).watchVms({})) {
        if (message.gone.length === 0) relay.freeze();
      }
    };
    expect((await failure(watch())).reason).toBe('NODE_UNREACHABLE');
    await handlerEnded;
    relay.close();
  });
});

describe('serving', () => {
  it('ends streams when it stops, lets running calls finish, and says so to health', async () => {
    let finish: (() => void) | undefined;
    const running = new Promise<void>((resolve) => {
      finish = resolve;
    });
    const server = await bench.scheduler({
      getVm: () => running.then(() => ({ vm: { name: 'counter' } })),
      async *watchVms(_request, { signal }) {
        yield {};
        await aborted(signal);
      },
    });
    const scheduler = bench.peers().scheduler(server.address);
    const call = scheduler.getVm({});
    const stream = failure(drain(scheduler.watchVms({})));
    await expect.poll(() => bench.log.lines.filter(({ state }) => state === 'd').length).toBe(2);
    const closed = server.close(10_000);
    expect((await stream).reason).toBe('STOPPING');
    finish?.();
    expect((await call).vm?.name).toBe('counter');
    await closed;
  });

  it('cuts off calls that outlast its grace', async () => {
    const server = await bench.scheduler({ getVm: () => new Promise(() => undefined) });
    const call = failure(bench.peers().scheduler(server.address).getVm({}));
    await expect.poll(() => bench.log.lines.filter(({ state }) => state === 'd').length).toBe(1);
    await server.close(50);
    expect((await call).reason).toBe('NODE_UNREACHABLE');
  });

  it('answers health of each service and of the server', async () => {
    const server = await bench.scheduler({});
    const channel = openChannel(server.address);
    const health = createClient(HealthDefinition, channel);
    const name = 'lockstep.v1.SchedulerService';
    const serving = { status: 1 };
    const notServing = { status: 2 };
    expect(await health.check({ service: name })).toMatchObject(serving);
    server.setServing(name, false);
    expect(await health.check({ service: name })).toMatchObject(notServing);
    expect(await health.check({ service: '' })).toMatchObject(serving);
    channel.close();
  });

  it('removes what a client claims to be', async () => {
    const seen: (string | undefined)[] = [];
    const server = await bench.scheduler({
      getVm: (_request, context) => {
        seen.push(callerOf(context).identity);
        return Promise.resolve({});
      },
    });
    const { Metadata } = await import('nice-grpc');
    const metadata = Metadata().set('x-lockstep-identity', 'lockstep://root');
    await bench.peers().scheduler(server.address).getVm({}, { metadata });
    expect(seen).toEqual([undefined]);
  });

  it('names the address that is taken', async () => {
    const server = await bench.scheduler({});
    await expect(bench.scheduler({}, { listen: server.address })).rejects.toThrow(`cannot listen on ${server.address}`);
  });
});
