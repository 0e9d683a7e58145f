// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import { present } from '../present.js';
import { clusterView } from '../output/views/cluster.js';
import { withCluster } from '../run.js';
import type { Terminal } from '../terminal.js';

export function addClusterCommands(program: Command, terminal: Terminal): void {
  program
    .command('cluster')
    .description('the cluster as a whole')
    .command('status')
    .description('who leads, and how many nodes, VMs and migrations there are')
    .action(async (_options: object, command: Command) => {
      await withCluster(terminal, command, async ({ cluster, printer }) => {
        const answer = await cluster.scheduler.getCluster({});
        printer.details(clusterView, present(answer.cluster, 'cluster'));
      });
    });
}
