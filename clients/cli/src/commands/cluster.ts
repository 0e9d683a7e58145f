// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import { present } from '../present.js';
import { clusterView } from '../output/views/cluster.js';
import { withCluster } from '../run.js';
import type { Terminal } from '../terminal.js';
import { addDrillCommand } from './cluster-drill.js';
import { addOptionsCommands } from './cluster-options.js';

export function addClusterCommands(program: Command, terminal: Terminal): void {
  const cluster = program.command('cluster').description('the cluster as a whole');
  addOptionsCommands(cluster, terminal);
  addDrillCommand(cluster, terminal);
  cluster
    .command('status')
    .description('who leads, and how many nodes, VMs and migrations there are')
    .action(async (_options: object, command: Command) => {
      await withCluster(terminal, command, async ({ cluster: api, printer }) => {
        const answer = await api.scheduler.getCluster({});
        printer.details(clusterView, present(answer.cluster, 'cluster'));
      });
    });
}
