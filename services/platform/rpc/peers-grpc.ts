// SPDX-License-Identifier: Apache-2.0
import {
  type CallLimits,
  type LimitedCallOptions,
  mapMethods,
  openChannel,
  openClient,
  type ServiceInfo,
  streamOf,
  type TlsFiles,
  unaryOf,
  type UntypedClient,
} from '@lockstep/sdk/transport';
import {
  FencerServiceDefinition,
  NodeAgentServiceDefinition,
  SchedulerServiceDefinition,
} from '@lockstep/sdk/v1';
import type { Channel, Client } from 'nice-grpc';
import { LockstepError } from '../../core/errors/catalogue.js';
import type { Clock } from '../clock/clock.js';
import { fromPeerError } from './errors.js';
import type { Peers } from './peers.js';

/** Settings of {@link createPeers}. */
export interface PeersOptions {
  clock: Clock;
  tls?: TlsFiles | undefined;
  /** Deadline of unary calls that name none, in milliseconds; 10,000 unless told. */
  unaryDeadlineMs?: number | undefined;
  /** Connections kept at a time; 1,024 unless told. The one idle for longest makes room. */
  maxChannels?: number | undefined;
  /** Overrides of gRPC's channel options, e.g. a shorter keepalive. */
  options?: Readonly<Record<string, string | number>> | undefined;
}

/** Peers whose connections can be closed. */
export interface GrpcPeers extends Peers {
  /** Closes every connection; calls that run fail with NODE_UNREACHABLE. */
  close(): void;
}

const MAX_CHANNELS = 1_024;

/** A connection with the clients that share it. */
interface Link {
  channel: Channel;
  clients: Map<string, UntypedClient>;
  inFlight: number;
}

/** Keeps one warm channel per address, the most recently used last. */
class Links {
  readonly #links = new Map<string, Link>();
  readonly #options: PeersOptions;
  #closed = false;

  constructor(options: PeersOptions) {
    this.#options = options;
  }

  /** The link to this address, opened if need be, and marked as used. */
  take(address: string): Link {
    if (this.#closed) throw new LockstepError('NODE_UNREACHABLE', `${address}: connections are closed`, { address });
    const known = this.#links.get(address);
    const link = known ?? this.#open(address);
    this.#links.delete(address);
    this.#links.set(address, link);
    return link;
  }

  client(link: Link, definition: ServiceInfo): UntypedClient {
    const known = link.clients.get(definition.fullName);
    if (known !== undefined) return known;
    const { clock, unaryDeadlineMs } = this.#options;
    const startTimer = clock.after.bind(clock);
    const client = openClient(definition, link.channel, { startTimer, unaryDeadlineMs });
    link.clients.set(definition.fullName, client);
    return client;
  }

  close(): void {
    this.#closed = true;
    for (const { channel } of this.#links.values()) channel.close();
    this.#links.clear();
  }

  #open(address: string): Link {
    this.#makeRoom();
    const { tls, options } = this.#options;
    return { channel: openChannel(address, { tls, options }), clients: new Map(), inFlight: 0 };
  }

  #makeRoom(): void {
    const limit = this.#options.maxChannels ?? MAX_CHANNELS;
    if (this.#links.size < limit) return;
    for (const [address, link] of this.#links) {
      if (link.inFlight > 0) continue;
      link.channel.close();
      this.#links.delete(address);
      return;
    }
    throw new LockstepError('QUEUE_FULL', `all ${String(limit)} connections to other services are in use`);
  }
}

/** Peers over gRPC. A client looks its connection up with every call, so it may be kept for as long as one likes. */
export function createPeers(options: PeersOptions): GrpcPeers {
  const links = new Links(options);

  function client<D extends ServiceInfo>(definition: D, address: string): Client<D, CallLimits> {
    return mapMethods(definition, {
      unary: (method, { name }) => async (request, callOptions?: LimitedCallOptions) => {
        const link = links.take(address);
        link.inFlight += 1;
        try {
          return await unaryOf(links.client(link, definition), method)(request, callOptions);
        } catch (error) {
          throw fromPeerError(`${name} at ${address}`, address, error, callOptions?.signal);
        } finally {
          link.inFlight -= 1;
        }
      },
      stream: (method, { name }) =>
        async function* (request, callOptions?: LimitedCallOptions) {
          const link = links.take(address);
          link.inFlight += 1;
          try {
            yield* streamOf(links.client(link, definition), method)(request, callOptions);
          } catch (error) {
            throw fromPeerError(`${name} at ${address}`, address, error, callOptions?.signal);
          } finally {
            link.inFlight -= 1;
          }
        },
    }) as Client<D, CallLimits>;
  }

  return {
    agent: (address) => client(NodeAgentServiceDefinition, address),
    scheduler: (address) => client(SchedulerServiceDefinition, address),
    fencer: (address) => client(FencerServiceDefinition, address),
    close: () => {
      links.close();
    },
  };
}
