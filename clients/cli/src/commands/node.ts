// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import { nameArgument } from '../arguments.js';
import { addNodeFenceCommand } from './fence.js';
import { nodeView, nodeWithVmsView } from '../output/views/node.js';
import { withCluster } from '../run.js';
import type { Terminal } from '../terminal.js';

export function addNodeCommands(program: Command, terminal: Terminal): void {
  const node = program.command('node').description('the hypervisor hosts');

  node
    .command('list')
    .description('list all nodes')
    .action(async (_options: object, command: Command) => {
      await withCluster(terminal, command, async ({ cluster, printer }) => {
        const { nodes } = await cluster.scheduler.listNodes({});
        printer.list(nodeView, nodes, 'no nodes have joined');
      });
    });

  node
    .command('show')
    .description('show one node and the VMs its agent reports')
    .argument('<node>', 'its name', nameArgument)
    .action(async (name: string, _options: object, command: Command) => {
      await withCluster(terminal, command, async ({ cluster, printer }) => {
        printer.details(nodeWithVmsView, await cluster.scheduler.getNode({ name }));
      });
    });

  addNodeFenceCommand(node, terminal);
}
