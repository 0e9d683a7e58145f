// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import { countArgument, nameArgument } from '../arguments.js';
import { streamLog } from '../vm-log.js';
import { withCluster } from '../run.js';
import type { Terminal } from '../terminal.js';

const LINES = 100;

export function addLogCommand(vm: Command, terminal: Terminal): void {
  vm.command('log')
    .description("print the end of a VM's console")
    .argument('<vm>', 'its name or UUID', nameArgument)
    .option('--lines <count>', 'so many lines of the past, at most 10000', countArgument, LINES)
    .option('--follow', 'go on as it grows, wherever the VM moves, until Ctrl-C')
    .action(async (name: string, { lines, follow = false }: { lines: number; follow?: boolean }, command: Command) => {
      await withCluster(terminal, command, async ({ cluster }) => {
        await streamLog(cluster, terminal, name, { lines, follow });
      });
    });
}
