// SPDX-License-Identifier: Apache-2.0
import { type Channel, Status } from 'nice-grpc';
import { ApiError } from './errors.js';
import { failoverClient, Replicas } from './failover.js';
import { openChannel, type TlsFiles } from './transport/channel.js';
import { openClient, type ServiceInfo, UNARY_DEADLINE_MS } from './transport/client.js';
import type { CallLimits } from './transport/deadline.js';
import {
  FencerServiceDefinition,
  type FencerServiceClient,
  LeaderRole,
  type Migration,
  NodeAgentServiceDefinition,
  type NodeAgentServiceClient,
  SchedulerServiceDefinition,
  type SchedulerServiceClient,
  type Vm,
} from './v1.js';
import type { WaitOptions } from './wait.js';
import { type Watches, watchesOf } from './watches.js';
import { type VmCondition, waitForMigration, waitForVm } from './wait-for.js';

/** Where the cluster is, and how to speak with it. */
export interface ConnectOptions {
  /** host:port of one or more Schedulers; any replica will do. */
  servers: readonly string[];
  /** PEM files; without them plain text is spoken, which servers take from few places. */
  tls?: TlsFiles;
  /** Limit of unary calls that name none, in milliseconds; 10,000 unless told. */
  deadlineMs?: number;
}

/** A connection to a cluster. Every call rejects with {@link ApiError}. */
export interface Lockstep {
  /** The Scheduler's API. Calls that may be repeated go to the next server where one does not answer. */
  readonly scheduler: SchedulerServiceClient<CallLimits>;
  /** The leading Fencer's API; its address comes from the Scheduler, anew with every call of this. */
  fencer(): Promise<FencerServiceClient<CallLimits>>;
  /** One agent's API, host:port; for emergencies and diagnosis. */
  nodeAgent(address: string): NodeAgentServiceClient<CallLimits>;
  /**
   * Resolves with the migration once it has ended: SUCCEEDED, ABORTED or FAILED. Goes on across elections and lost
   * connections. A migration that becomes UNCERTAIN is waited for as long as it takes; `onUpdate` shows it.
   */
  waitForMigration(id: string, options?: WaitOptions<Migration>): Promise<Migration>;
  /** Resolves with the VM (UUID or name) once it is in one of these states, or once the predicate holds. */
  waitForVm(vm: string, condition: VmCondition, options?: WaitOptions<Vm>): Promise<Vm>;
  /** Watches that go on by themselves. */
  readonly watch: Watches;
  /** Closes every connection. Calls that run fail with SERVER_UNREACHABLE. */
  close(): void;
}

/** Channels by address, opened when first used. */
class Channels {
  readonly #open = new Map<string, Channel>();
  readonly #tls: TlsFiles | undefined;

  constructor(tls: TlsFiles | undefined) {
    this.#tls = tls;
  }

  to(address: string): Channel {
    const channel = this.#open.get(address) ?? openChannel(address, { tls: this.#tls });
    this.#open.set(address, channel);
    return channel;
  }

  close(): void {
    for (const channel of this.#open.values()) channel.close();
    this.#open.clear();
  }
}

function fencerAddress(leaders: readonly { role: LeaderRole; address: string }[]): string {
  const address = leaders.find(({ role }) => role === LeaderRole.FENCER)?.address ?? '';
  if (address !== '') return address;
  throw new ApiError('no Fencer leads right now', {
    reason: 'NO_LEADER',
    code: Status.UNAVAILABLE,
    hint: 'lockstep cluster status',
  });
}

/** Connects to a cluster. Nothing is sent before the first call. */
export function connect({ servers, tls, deadlineMs = UNARY_DEADLINE_MS }: ConnectOptions): Lockstep {
  if (servers.length === 0) throw new TypeError('connect: servers is empty, want at least one host:port');
  const channels = new Channels(tls);
  const clientOf = (definition: ServiceInfo, addresses: readonly string[]): object => {
    const settings = { unaryDeadlineMs: deadlineMs };
    const replicas = addresses.map((address) => ({
      address,
      client: openClient(definition, channels.to(address), settings),
    }));
    return failoverClient(definition, new Replicas(replicas), deadlineMs);
  };
  const scheduler = clientOf(SchedulerServiceDefinition, servers) as SchedulerServiceClient<CallLimits>;
  const fencer = async (): Promise<FencerServiceClient<CallLimits>> => {
    const { cluster } = await scheduler.getCluster({});
    const address = fencerAddress(cluster?.leaders ?? []);
    return clientOf(FencerServiceDefinition, [address]) as FencerServiceClient<CallLimits>;
  };
  return {
    scheduler,
    fencer,
    nodeAgent: (address) => clientOf(NodeAgentServiceDefinition, [address]) as NodeAgentServiceClient<CallLimits>,
    waitForMigration: (id, options = {}) => waitForMigration(scheduler, id, options),
    watch: watchesOf(scheduler, fencer),
    waitForVm: (vm, condition, options = {}) => waitForVm(scheduler, vm, condition, options),
    close: () => {
      channels.close();
    },
  };
}
