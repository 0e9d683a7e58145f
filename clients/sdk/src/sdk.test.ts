// SPDX-License-Identifier: Apache-2.0
import { Status } from 'nice-grpc';
import { afterEach, describe, expect, it } from 'vitest';
import { ApiError, connect, type ConnectOptions, LeaderRole, type Lockstep, MigrationState, VmState } from './index.js';
import { type FakeScheduler, refusal, startFakeScheduler } from './testing/fake-scheduler.js';
import type { SchedulerServiceImplementation } from './v1.js';

const open: { stop(): void }[] = [];
afterEach(() => {
  for (const one of open.splice(0)) one.stop();
});

async function server(methods: Partial<SchedulerServiceImplementation>, listen?: string): Promise<FakeScheduler> {
  const fake = await startFakeScheduler(methods, listen);
  open.push(fake);
  return fake;
}

function client(servers: readonly (FakeScheduler | string)[], options: Partial<ConnectOptions> = {}): Lockstep {
  const addresses = servers.map((one) => (typeof one === 'string' ? one : one.address));
  const lockstep = connect({ servers: addresses, ...options });
  open.unshift({
    stop: () => {
      lockstep.close();
    },
  });
  return lockstep;
}

/** An address on which nobody listens. */
async function nobody(): Promise<string> {
  const fake = await startFakeScheduler({});
  fake.stop();
  return fake.address;
}

function named(name: string): Partial<SchedulerServiceImplementation> {
  return { getVm: () => Promise.resolve({ vm: { name } }), updateVm: () => Promise.resolve({ vm: { name } }) };
}

const noLeader = (): Promise<never> => Promise.reject(refusal(Status.UNAVAILABLE, 'NO_LEADER'));

describe('errors', () => {
  it('carry reason, status, message, metadata and hint', async () => {
    const metadata = { vm: 'counter', hint: 'lockstep vm list' };
    const fake = await server({ getVm: () => Promise.reject(refusal(Status.NOT_FOUND, 'VM_NOT_FOUND', metadata)) });
    const error = await client([fake]).scheduler.getVm({ vm: 'counter' }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(ApiError);
    expect(error).toMatchObject({
      reason: 'VM_NOT_FOUND',
      code: Status.NOT_FOUND,
      status: 'NOT_FOUND',
      message: 'refused: VM_NOT_FOUND',
      metadata: { vm: 'counter' },
      hint: 'lockstep vm list',
      answered: true,
    });
  });

  it('say what the client itself found out', async () => {
    const fake = await server({ getVm: () => new Promise(() => undefined) });
    const { scheduler } = client([fake], { deadlineMs: 100 });
    await expect(scheduler.getVm({})).rejects.toMatchObject({ reason: 'DEADLINE', status: 'DEADLINE_EXCEEDED', answered: false });
    const controller = new AbortController();
    const call = scheduler.getVm({}, { signal: controller.signal, deadlineMs: 60_000 });
    controller.abort();
    await expect(call).rejects.toMatchObject({ reason: 'CANCELLED' });
    const silent = await nobody();
    await expect(client([silent]).scheduler.getVm({})).rejects.toMatchObject({
      reason: 'SERVER_UNREACHABLE',
      status: 'UNAVAILABLE',
      message: expect.stringContaining(silent) as string,
      metadata: { server: silent },
    });
  });

  it('come after close, too', async () => {
    const lockstep = client([await server(named('a'))]);
    await lockstep.scheduler.getVm({});
    lockstep.close();
    await expect(lockstep.scheduler.getVm({})).rejects.toMatchObject({ reason: 'SERVER_UNREACHABLE' });
  });
});

describe('any replica will do', () => {
  it('for a call that may be repeated: the next one is asked, and then first', async () => {
    const dead = await nobody();
    const { scheduler } = client([dead, await server(named('b'))]);
    expect((await scheduler.getVm({})).vm?.name).toBe('b');
    // Not IDEMPOTENT, so it only succeeds where the living one is asked first.
    expect((await scheduler.updateVm({})).vm?.name).toBe('b');
  });

  it('but a call that may have had an effect is not repeated', async () => {
    const { scheduler } = client([await nobody(), await server(named('b'))]);
    await expect(scheduler.updateVm({})).rejects.toMatchObject({ reason: 'SERVER_UNREACHABLE' });
  });

  it('and one that was refused before anything happened is', async () => {
    const { scheduler } = client([await server({ updateVm: noLeader }), await server(named('b'))]);
    expect((await scheduler.updateVm({})).vm?.name).toBe('b');
  });

  it('an election is waited for within the limit', async () => {
    let calls = 0;
    const fake = await server({ getVm: () => ((calls += 1) < 3 ? noLeader() : Promise.resolve({ vm: { name: 'a' } })) });
    expect((await client([fake]).scheduler.getVm({})).vm?.name).toBe('a');
    const never = await server({ getVm: noLeader });
    await expect(client([never], { deadlineMs: 500 }).scheduler.getVm({})).rejects.toMatchObject({ reason: 'NO_LEADER' });
  });

  it('refusals about the matter itself are not tried elsewhere', async () => {
    let asked = 0;
    const refuse = await server({ getNode: () => Promise.reject(refusal(Status.UNAVAILABLE, 'NODE_UNREACHABLE')) });
    const other = await server({ getNode: () => Promise.resolve({ node: { name: `h${String((asked += 1))}` } }) });
    await expect(client([refuse, other]).scheduler.getNode({})).rejects.toMatchObject({ reason: 'NODE_UNREACHABLE' });
    expect(asked).toBe(0);
  });

  it('a stream moves on before its first message, and not after', async () => {
    const broken = await server({
      async *watchVms() {
        yield { resumeToken: '1' };
        await noLeader();
      },
    });
    const first = client([await nobody(), broken]).scheduler.watchVms({})[Symbol.asyncIterator]();
    expect((await first.next()).value).toMatchObject({ resumeToken: '1' });
    await expect(first.next()).rejects.toMatchObject({ reason: 'NO_LEADER' });
  });

  it('a server that lets the limit pass is not asked first again', async () => {
    const stuck = await server({ getVm: () => new Promise(() => undefined) });
    const { scheduler } = client([stuck, await server(named('b'))]);
    await expect(scheduler.getVm({}, { deadlineMs: 100 })).rejects.toMatchObject({ reason: 'DEADLINE' });
    expect((await scheduler.getVm({})).vm?.name).toBe('b');
  });
});

describe('waitForMigration', () => {
  const id = 'm1';
  const at = (state: MigrationState) => ({ id, state });

  it('follows the watch and resolves with the end', async () => {
    const fake = await server({
      getMigration: () => Promise.resolve({ migration: at(MigrationState.PENDING) }),
      async *watchMigrations() {
        for (const state of [MigrationState.TRANSFERRING, MigrationState.UNCERTAIN, MigrationState.SUCCEEDED]) {
          yield await Promise.resolve({ changed: [{ id: 'other', state: MigrationState.FAILED }, at(state)] });
        }
      },
    });
    const seen: MigrationState[] = [];
    const end = await client([fake]).waitForMigration(id, { onUpdate: ({ state }) => seen.push(state) });
    expect(end.state).toBe(MigrationState.SUCCEEDED);
    const { PENDING, TRANSFERRING, UNCERTAIN, SUCCEEDED } = MigrationState;
    expect(seen).toEqual([PENDING, TRANSFERRING, UNCERTAIN, SUCCEEDED]);
  });

  it('polls where the service cannot watch, and answers at once for one that has ended', async () => {
    let asked = 0;
    const fake = await server({
      getMigration: () => Promise.resolve({ migration: at((asked += 1) < 3 ? MigrationState.PENDING : MigrationState.ABORTED) }),
    });
    expect((await client([fake]).waitForMigration(id)).state).toBe(MigrationState.ABORTED);
    expect(asked).toBe(3);
  });

  it('attaches again after its server died and came back', async () => {
    let reachedWatch: (() => void) | undefined;
    const watching = new Promise<void>((resolve) => {
      reachedWatch = resolve;
    });
    const first = await server({
      getMigration: () => Promise.resolve({ migration: at(MigrationState.TRANSFERRING) }),
      async *watchMigrations() {
        reachedWatch?.();
        yield { changed: [at(MigrationState.TRANSFERRING)] };
        await new Promise(() => undefined);
      },
    });
    const wait = client([first]).waitForMigration(id);
    await watching;
    first.stop();
    await server({ getMigration: () => Promise.resolve({ migration: at(MigrationState.SUCCEEDED) }) }, first.address);
    expect((await wait).state).toBe(MigrationState.SUCCEEDED);
  });

  it('gives up when nothing is heard for too long, and at once for what does not exist', async () => {
    await expect(client([await nobody()]).waitForMigration(id, { patienceMs: 300 })).rejects.toMatchObject({ reason: 'SERVER_UNREACHABLE' });
    const fake = await server({ getMigration: () => Promise.reject(refusal(Status.NOT_FOUND, 'MIGRATION_NOT_FOUND')) });
    await expect(client([fake]).waitForMigration(id)).rejects.toMatchObject({ reason: 'MIGRATION_NOT_FOUND' });
  });

  it('ends with the caller’s signal', async () => {
    const fake = await server({ getMigration: () => Promise.resolve({ migration: at(MigrationState.PENDING) }) });
    const controller = new AbortController();
    const wait = client([fake]).waitForMigration(id, {
      signal: controller.signal,
      onUpdate: () => {
        controller.abort();
      },
    });
    await expect(wait).rejects.toMatchObject({ reason: 'CANCELLED' });
  });
});

it('waitForVm waits for states or a predicate', async () => {
  let asked = 0;
  const fake = await server({
    getVm: () => {
      asked += 1;
      return Promise.resolve({ vm: { name: 'counter', status: { state: asked < 2 ? VmState.STARTING : VmState.RUNNING, node: 'h1' } } });
    },
  });
  const lockstep = client([fake]);
  expect((await lockstep.waitForVm('counter', [VmState.RUNNING, VmState.ERROR])).status?.node).toBe('h1');
  expect((await lockstep.waitForVm('counter', ({ status }) => status?.node === 'h1')).name).toBe('counter');
});

it('finds the Fencer through the Scheduler', async () => {
  const fencer = await nobody();
  const fake = await server({
    getCluster: () => Promise.resolve({ cluster: { leaders: [{ role: LeaderRole.FENCER, address: fencer }] } }),
  });
  const found = await client([fake]).fencer();
  await expect(found.listEvidence({})).rejects.toThrow(fencer.slice(fencer.indexOf(':') + 1));
  const leaderless = await server({ getCluster: () => Promise.resolve({ cluster: {} }) });
  await expect(client([leaderless]).fencer()).rejects.toMatchObject({ reason: 'NO_LEADER' });
});

it('refuses to connect to nothing', () => {
  expect(() => connect({ servers: [] })).toThrow('servers is empty');
});

describe('a watch', () => {
  /** Serves one script per call, and notes the tokens that it was asked to go on from. */
  function scripted(scripts: readonly (() => AsyncGenerator<{ resumeToken: string; snapshot?: boolean }>)[]) {
    const tokens: string[] = [];
    const watchVms = async function* ({ resumeToken }: { resumeToken: string }) {
      const script = scripts[tokens.length];
      tokens.push(resumeToken);
      if (script !== undefined) yield* script();
    };
    return { tokens, watchVms };
  }

  async function* messages(...tokens: string[]) {
    for (const resumeToken of tokens) yield await Promise.resolve({ resumeToken });
  }

  it('goes on from its last token where the connection is lost', async () => {
    const { tokens, watchVms } = scripted([
      async function* () {
        yield* messages('vms.1', 'vms.2');
        throw refusal(Status.UNAVAILABLE, 'NOT_LEADER');
      },
      () => messages('vms.3'),
    ]);
    const seen: string[] = [];
    for await (const { resumeToken } of client([await server({ watchVms })]).watch.vms()) {
      if (seen.push(resumeToken) === 3) break;
    }
    expect(seen).toEqual(['vms.1', 'vms.2', 'vms.3']);
    expect(tokens).toEqual(['', 'vms.2']);
  });

  it('begins anew where its token has expired', async () => {
    const { tokens, watchVms } = scripted([
      async function* () {
        yield await Promise.reject(refusal(Status.FAILED_PRECONDITION, 'RESUME_TOKEN_EXPIRED'));
      },
      () => messages('vms.9'),
    ]);
    const lockstep = client([await server({ watchVms })]);
    for await (const { resumeToken } of lockstep.watch.vms({ resumeToken: 'vms.1' })) {
      expect(resumeToken).toBe('vms.9');
      break;
    }
    expect(tokens).toEqual(['vms.1', '']);
  });

  it('of events says so instead, as what was pruned cannot be told', async () => {
    const watchEvents = async function* () {
      yield await Promise.reject(refusal(Status.FAILED_PRECONDITION, 'RESUME_TOKEN_EXPIRED'));
    };
    const watching = client([await server({ watchEvents })]).watch.events({ resumeToken: 'events.1' });
    await expect(watching[Symbol.asyncIterator]().next()).rejects.toMatchObject({ reason: 'RESUME_TOKEN_EXPIRED' });
  });

  it('ends without an error when its caller lets go', async () => {
    const letGo = new AbortController();
    const { watchVms } = scripted([() => messages('vms.1')]);
    const seen: string[] = [];
    for await (const { resumeToken } of client([await server({ watchVms })]).watch.vms({ signal: letGo.signal })) {
      seen.push(resumeToken);
      letGo.abort();
    }
    expect(seen).toEqual(['vms.1']);
  });
});
