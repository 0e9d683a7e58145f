// SPDX-License-Identifier: Apache-2.0
import { parseArgs } from 'node:util';
import { addContext, removeContext } from '../platform/config/context-file.js';
import { createLogger } from '../platform/log/pino.js';
import { startDevCluster } from './cluster.js';

const CONTEXT = 'dev';
const USAGE = 'usage: lockstep dev [--nodes COUNT] [--debug]';
const MOST_NODES = 20;

const { values } = parseArgs({
  options: { nodes: { type: 'string', default: '3' }, debug: { type: 'boolean', default: false } },
});
const nodes = Number(values.nodes);
if (!Number.isInteger(nodes) || nodes < 1 || nodes > MOST_NODES) {
  process.stderr.write(`--nodes: got ${values.nodes}, want 1 to ${String(MOST_NODES)}\n${USAGE}\n`);
  process.exit(2);
}

const cluster = await startDevCluster({ nodes, log: createLogger({ name: 'dev', debug: values.debug }) });
addContext(CONTEXT, [cluster.scheduler]);
process.stdout.write(
  [
    'A cluster of simulated hypervisors in this process: nothing real is touched, nothing outlives it.',
    `  scheduler  ${cluster.scheduler}`,
    `  fencer     ${cluster.fencer}`,
    ...[...cluster.agents].map(([name, address]) => `  agent ${name}   ${address}`),
    '',
    'In another terminal:',
    `  export LOCKSTEP_SERVER=${cluster.scheduler}   (or nothing: the context "${CONTEXT}" was written)`,
    '  lockstep node list',
    '',
    'Ctrl-C ends it.',
    '',
  ].join('\n'),
);
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    removeContext(CONTEXT);
    void cluster.close().then(() => process.exit(0));
  });
}
