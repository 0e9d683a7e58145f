// SPDX-License-Identifier: Apache-2.0
import {
  CompletionMethod,
  Event,
  EventSeverity,
  GetNodeResponse,
  LeaderRole,
  Migration,
  MigrationMode,
  MigrationRole,
  MigrationState as State,
  MigrationStep,
  Node,
  NodeJudgement,
  NodeMode,
  SchedulerServiceDefinition,
  Vm,
  VmDesired,
  VmState,
  type CreateMigrationRequest,
  type DefineVmRequest,
  type SchedulerServiceImplementation,
} from '@lockstep/sdk/v1';
import { createServer, ServerError, Status, type Server } from 'nice-grpc';
import { ErrorInfo, errorDetailsServerMiddleware, RichServerError } from 'nice-grpc-error-details';

/** What becomes of a migration is told by the node it goes to. */
const STORY_OF_TARGET: Readonly<Record<string, readonly State[]>> = {
  succeeds: [State.PREPARING, State.TRANSFERRING, State.COMMITTING, State.SUCCEEDED],
  aborts: [State.PREPARING, State.TRANSFERRING, State.ABORTING, State.ABORTED],
  fails: [State.PREPARING, State.TRANSFERRING, State.FAILED],
  hangs: [State.PREPARING, State.TRANSFERRING],
  novel: [99 as State, State.SUCCEEDED],
};

const STEP_MS = 15;

function refuse(status: Status, reason: string, message: string, metadata: Record<string, string> = {}): never {
  throw new RichServerError(status, message, [ErrorInfo.fromPartial({ reason, domain: 'lockstep', metadata })]);
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(new ServerError(Status.CANCELLED, 'the caller left'));
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    }, ms);
    signal.addEventListener('abort', onAbort, { once: true });
  });
}

/** A Scheduler that plays a cluster to the CLI: a few records and a story for each target. */
export class PlayedCluster {
  readonly vms = new Map<string, Vm>();
  readonly migrations = new Map<string, Migration>();
  /** Oldest first. */
  readonly events: Event[] = [];
  readonly requestIds: string[] = [];
  /** Methods that were called, in order. */
  readonly calls: string[] = [];
  address = '';
  #server: Server | undefined;

  constructor() {
    this.addVm('c1', VmState.RUNNING);
    this.addVm('c2', VmState.STOPPED);
  }

  addVm(name: string, state: VmState): Vm {
    const vm = Vm.fromPartial({
      id: `00000000-0000-4000-8000-${name.padStart(12, '0')}`,
      name,
      desired: state === VmState.RUNNING ? VmDesired.RUNNING : VmDesired.STOPPED,
      homeNode: 'h1',
      placement: { node: 'h1', epoch: 7n, lastEpoch: 7n },
      spec: { domainXml: '<domain/>', memoryBytes: 2n ** 53n + 1n, vcpus: 2 },
      status: { state, node: 'h1' },
      createTime: new Date(),
    });
    this.vms.set(name, vm);
    return vm;
  }

  happens(reason: string, subject: string): void {
    const id = `0190f001-0000-7000-8000-${String(this.events.length).padStart(12, '0')}`;
    const message = `${reason} at ${subject}`;
    this.events.push(Event.fromPartial({ id, reason, subject, message, severity: EventSeverity.WARNING, time: new Date() }));
  }

  async start(): Promise<void> {
    const names = Object.keys(SchedulerServiceDefinition.methods);
    const unimplemented = names.map((name) => [
      name,
      () => refuse(Status.UNIMPLEMENTED, 'NOT_IMPLEMENTED', `${name} is not played`),
    ]);
    const methods = { ...Object.fromEntries(unimplemented), ...this.#methods() } as SchedulerServiceImplementation;
    this.#server = createServer().use(errorDetailsServerMiddleware);
    this.#server.add(SchedulerServiceDefinition, methods);
    this.address = `127.0.0.1:${String(await this.#server.listen('127.0.0.1:0'))}`;
  }

  stop(): void {
    this.#server?.forceShutdown();
  }

  #vm(name: string): Vm {
    const vm = this.vms.get(name) ?? [...this.vms.values()].find(({ id }) => id === name);
    const metadata = { vm: name, hint: 'lockstep vm list' };
    return vm ?? refuse(Status.NOT_FOUND, 'VM_NOT_FOUND', `no VM is called ${name}`, metadata);
  }

  #migration(id: string): Migration {
    const migration = this.migrations.get(id);
    const metadata = { hint: 'lockstep migration list' };
    return migration ?? refuse(Status.NOT_FOUND, 'MIGRATION_NOT_FOUND', `no migration ${id}`, metadata);
  }

  #methods(): Partial<SchedulerServiceImplementation> {
    return {
      listVms: ({ pageSize, pageToken }) => {
        // Pages of one, so that the pages are seen to be followed.
        const all = [...this.vms.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
        const from = Number(pageToken);
        const to = from + Math.min(1, pageSize);
        return Promise.resolve({ vms: all.slice(from, to), nextPageToken: to < all.length ? String(to) : '' });
      },
      getVm: ({ vm }) => Promise.resolve({ vm: this.#vm(vm) }),
      defineVm: (request) => Promise.resolve({ vm: this.#define(request) }),
      undefineVm: ({ vm }) => {
        this.vms.delete(this.#vm(vm).name);
        return Promise.resolve({});
      },
      startVm: ({ vm }) => Promise.resolve({ vm: this.#want(vm, VmDesired.RUNNING, VmState.RUNNING) }),
      stopVm: ({ vm }) => Promise.resolve({ vm: this.#want(vm, VmDesired.STOPPED, VmState.STOPPED) }),
      createMigration: (request) => Promise.resolve({ migration: this.#createMigration(request) }),
      getMigration: ({ id }) => Promise.resolve({ migration: this.#migration(id) }),
      listMigrations: () => Promise.resolve({ migrations: [...this.migrations.values()] }),
      watchMigrations: ({ id }, { signal }) => this.#watchMigration(id, signal),
      watchVms: (_request, { signal }) => this.#watchVms(signal),
      cancelMigration: ({ id }) =>
        refuse(Status.FAILED_PRECONDITION, 'PAST_POINT_OF_NO_RETURN', 'the target was told to take over', {
          hint: `lockstep migration watch ${id}`,
        }),
      completeMigration: ({ id, method }) => {
        this.calls.push(`complete ${id} ${method === CompletionMethod.PAUSE ? 'PAUSE' : 'POST_COPY'}`);
        return Promise.resolve({ migration: this.#migration(id) });
      },
      resolveMigration: ({ id, node, reason }) => {
        this.calls.push(`resolve ${id} ${node === '' ? 'nowhere' : node}: ${reason}`);
        return Promise.resolve({ migration: this.#migration(id) });
      },
      listEvents: ({ subject, pageSize, pageToken }) => {
        const newestFirst = this.events.filter((event) => subject === '' || event.subject === subject).reverse();
        const from = Number(pageToken);
        const to = from + Math.min(1, pageSize);
        return Promise.resolve({ events: newestFirst.slice(from, to), nextPageToken: to < newestFirst.length ? String(to) : '' });
      },
      watchEvents: (_request, { signal }) => this.#watchEvents(signal),
      listNodes: () => Promise.resolve({ nodes: [this.#node()] }),
      getNode: () => Promise.resolve(GetNodeResponse.fromPartial({ node: this.#node() })),
      getCluster: () =>
        Promise.resolve({
          cluster: {
            leaders: [{ role: LeaderRole.SCHEDULER, name: 's1', address: this.address, leaderEpoch: 3n }],
            nodesTotal: 1,
            nodesReady: 1,
          },
        }),
    };
  }

  #node(): Node {
    return Node.fromPartial({ name: 'h1', judgement: NodeJudgement.ALIVE, mode: NodeMode.ACTIVE, ready: true });
  }

  #define({ requestId, spec, validateOnly }: DefineVmRequest): Vm {
    this.requestIds.push(requestId);
    const name = /<name>(.*)<\/name>/.exec(spec?.domainXml ?? '')?.[1];
    if (name === undefined) refuse(Status.INVALID_ARGUMENT, 'INVALID_DOMAIN_XML', 'the domain has no name');
    if (this.vms.has(name)) refuse(Status.ALREADY_EXISTS, 'VM_NAME_TAKEN', `${name} is taken`);
    const vm = this.addVm(name, VmState.STOPPED);
    if (validateOnly) this.vms.delete(name);
    return vm;
  }

  /** The wish holds at once; the state follows when the VM is watched. */
  #want(name: string, desired: VmDesired, state: VmState): Vm {
    const vm = this.#vm(name);
    vm.desired = desired;
    setTimeout(() => {
      if (vm.status !== undefined) vm.status.state = state;
    }, 5 * STEP_MS);
    return vm;
  }

  #createMigration({ requestId, vm: name, targetNode, mode }: CreateMigrationRequest): Migration {
    this.requestIds.push(requestId);
    const vm = this.#vm(name);
    if (vm.placement?.node === targetNode) {
      refuse(Status.FAILED_PRECONDITION, 'SAME_NODE', `${name} is on ${targetNode} already`, {
        hint: `lockstep vm show ${name}`,
      });
    }
    if (targetNode === 'away') refuse(Status.UNAVAILABLE, 'NO_LEADER', 'nobody leads');
    const migration = Migration.fromPartial({
      id: `0190f000-0000-7000-8000-${String(this.migrations.size).padStart(12, '0')}`,
      vmId: vm.id,
      vmName: vm.name,
      sourceNode: 'h1',
      targetNode,
      modeRequested: mode,
      state: State.PENDING,
      createTime: new Date(),
    });
    this.migrations.set(migration.id, migration);
    return migration;
  }

  async *#watchMigration(id: string, signal: AbortSignal): AsyncGenerator<{ changed: Migration[]; snapshot: boolean }> {
    const migration = this.#migration(id);
    this.calls.push(`watch ${migration.targetNode}`);
    yield { changed: [migration], snapshot: true };
    for (const state of STORY_OF_TARGET[migration.targetNode] ?? []) {
      await pause(STEP_MS, signal);
      tell(migration, state);
      yield { changed: [migration], snapshot: false };
    }
    if (migration.targetNode === 'hangs') await pause(60_000, signal);
  }

  async *#watchEvents(signal: AbortSignal): AsyncGenerator<{ events: Event[]; resumeToken: string }> {
    for (let told = 0; ; ) {
      yield { events: this.events.slice(told), resumeToken: String(this.events.length) };
      told = this.events.length;
      await pause(STEP_MS, signal);
    }
  }

  async *#watchVms(signal: AbortSignal): AsyncGenerator<{ changed: Vm[]; snapshot: boolean }> {
    for (let step = 0; step < 1000; step += 1) {
      yield { changed: [...this.vms.values()], snapshot: step === 0 };
      await pause(STEP_MS, signal);
    }
  }
}

/** Brings a migration to a state, with what the real thing says along with it. */
function tell(migration: Migration, state: State): void {
  migration.state = state;
  if (state === State.TRANSFERRING) {
    migration.progress = Migration.fromPartial({
      progress: { memorySentBytes: 64n << 20n, memoryRemainingBytes: 16n << 20n, memoryTotalBytes: 80n << 20n },
    }).progress;
  }
  if (state === State.ABORTED) {
    migration.reason = 'NOT_CONVERGED';
    migration.detail = 'the guest dirties memory faster than the link';
  }
  if (state === State.FAILED) {
    migration.reason = 'RESTARTED_COLD';
    migration.detail = 'both sides were lost; it was started anew on h1';
  }
  if (state === State.SUCCEEDED) {
    migration.modeUsed = MigrationMode.LIVE_ONLY;
    migration.outcome = Migration.fromPartial({
      outcome: { downtime: { nanos: 41_000_000 }, gap: { nanos: 2_100_000 }, total: { seconds: 3n } },
    }).outcome;
    const began = Date.now();
    migration.phases = Migration.fromPartial({
      phases: [
        phase(MigrationStep.PREPARE_SOURCE, MigrationRole.SOURCE, began, 20),
        phase(MigrationStep.PREPARE_TARGET, MigrationRole.TARGET, began + 20, 150),
      ],
    }).phases;
  }
}

function phase(step: MigrationStep, side: MigrationRole, startMs: number, durationMs: number): object {
  return {
    step,
    side,
    startTime: new Date(startMs),
    endTime: new Date(startMs + durationMs),
    duration: { nanos: durationMs * 1_000_000 },
    ok: true,
  };
}
