// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import { nameArgument } from '../arguments.js';
import { vmView } from '../output/views/vm.js';
import { present } from '../present.js';
import { withCluster } from '../run.js';
import type { Terminal } from '../terminal.js';

interface AdoptOptions {
  node: string;
  dryRun?: boolean;
}

export function addAdoptCommand(vm: Command, terminal: Terminal): void {
  vm.command('adopt')
    .description("take a domain that the cluster does not manage under its care, as it is; 'node show' lists them")
    .argument('<domain>', 'its name or UUID', nameArgument)
    .requiredOption('--node <node>', 'the node it is on', nameArgument)
    .option('--dry-run', 'only say what would be')
    .action(async (domain: string, { node, dryRun = false }: AdoptOptions, command: Command) => {
      await withCluster(terminal, command, async ({ cluster, printer }) => {
        const answer = await cluster.scheduler.adoptVm({ vmId: domain, node, validateOnly: dryRun });
        printer.row(vmView, present(answer.vm, 'VM'));
        for (const obstacle of answer.liveObstacles) terminal.err(`it cannot move live: ${obstacle}\n`);
        if (dryRun) terminal.err('dry run: nothing was changed\n');
      });
    });
}
