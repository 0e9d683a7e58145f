// SPDX-License-Identifier: Apache-2.0
// Run in a network namespace of its own: calls a server from an address outside loopback; prints what came of it.
import { createMemoryLogger } from '../../services/dist/platform/log/memory.js';
import { systemClock } from '../../services/dist/platform/clock/system.js';
import { createPeers } from '../../services/dist/platform/rpc/peers-grpc.js';
import { implement, serve, service } from '../../services/dist/platform/rpc/server.js';
import { SchedulerServiceDefinition } from '../../clients/sdk/dist/v1.js';

const [host, ...allowCidrs] = process.argv.slice(2);
const scheduler = implement(SchedulerServiceDefinition, { listNodes: () => Promise.resolve({ nodes: [] }) });
const server = await serve({
  listen: `${host}:0`,
  insecure: { allowCidrs },
  log: createMemoryLogger(),
  services: [service(SchedulerServiceDefinition, scheduler)],
});
const peers = createPeers({ clock: systemClock });
const outcome = await peers
  .scheduler(server.address)
  .listNodes({})
  .then(
    () => 'answered',
    (error) => `${error.reason} ${error.metadata.peer ?? ''}`.trim(),
  );
peers.close();
await server.close(0);
console.log(outcome);
