// SPDX-License-Identifier: Apache-2.0
import { Argument, type Command } from 'commander';
import { nameArgument } from '../arguments.js';
import { addNodeDrainCommand } from './drain.js';
import { addNodeFenceCommand } from './fence.js';
import { nodeView, nodeWithVmsView } from '../output/views/node.js';
import { present } from '../present.js';
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

  node
    .command('maintenance')
    .description('put a node into maintenance, so that its VMs move away, or back, so that they come home')
    .argument('<node>', 'its name', nameArgument)
    .addArgument(new Argument('<on|off>', 'into maintenance, or back').choices(['on', 'off']))
    .option('--reason <text>', 'why, for the record')
    .action(async (name: string, mode: string, { reason = '' }: { reason?: string }, command: Command) => {
      await withCluster(terminal, command, async ({ cluster, printer }) => {
        const answer = await cluster.scheduler.setMaintenance({ node: name, enabled: mode === 'on', reason });
        printer.row(nodeView, present(answer.node, 'node'));
      });
    });

  node
    .command('ready')
    .description('undo a drain or maintenance: the node takes VMs, and those moved away come home')
    .argument('<node>', 'its name', nameArgument)
    .action(async (name: string, _options: object, command: Command) => {
      await withCluster(terminal, command, async ({ cluster, printer }) => {
        const answer = await cluster.scheduler.setMaintenance({ node: name, enabled: false });
        printer.row(nodeView, present(answer.node, 'node'));
      });
    });

  addNodeDrainCommand(node, terminal);
  addNodeFenceCommand(node, terminal);
}
