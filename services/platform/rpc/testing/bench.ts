// SPDX-License-Identifier: Apache-2.0
import { SchedulerServiceDefinition, type SchedulerServiceImplementation } from '@lockstep/sdk/v1';
import { systemClock } from '../../clock/system.js';
import { createMemoryLogger, type MemoryLogger } from '../../log/memory.js';
import { createPeers, type GrpcPeers, type PeersOptions } from '../peers-grpc.js';
import { implement, type RpcServer, serve, type ServeOptions, service } from '../server.js';

/** Servers and peers of one test, all closed by `close`. */
export interface Bench {
  readonly log: MemoryLogger;
  scheduler(methods: Partial<SchedulerServiceImplementation>, options?: Partial<ServeOptions>): Promise<RpcServer>;
  peers(options?: Partial<PeersOptions>): GrpcPeers;
  close(): Promise<void>;
}

export function createBench(): Bench {
  const log = createMemoryLogger();
  const closers: (() => unknown)[] = [];
  return {
    log,
    scheduler: async (methods, options) => {
      const services = [service(SchedulerServiceDefinition, implement(SchedulerServiceDefinition, methods))];
      const server = await serve({ listen: '127.0.0.1:0', services, log, ...options });
      closers.push(() => server.close(0));
      return server;
    },
    peers: (options) => {
      const peers = createPeers({ clock: systemClock, ...options });
      closers.unshift(() => {
        peers.close();
      });
      return peers;
    },
    close: async () => {
      for (const close of closers.splice(0)) await close();
    },
  };
}

/** Resolves when the signal aborts. */
export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => {
      resolve();
    });
  });
}
