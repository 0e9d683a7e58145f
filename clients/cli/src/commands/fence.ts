// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import { nameArgument } from '../arguments.js';
import { present } from '../present.js';
import { evidenceView } from '../output/views/fence.js';
import { withCluster } from '../run.js';
import type { Terminal } from '../terminal.js';

export function addFenceCommands(program: Command, terminal: Terminal): void {
  program
    .command('fence')
    .description('which nodes are alive, and proof where they are not')
    .command('evidence')
    .description('show what is known of whether nodes live, and what follows from it')
    .argument('[node]', 'only this one, with every observation', nameArgument)
    .action(async (node: string | undefined, _options: object, command: Command) => {
      await withCluster(terminal, command, async ({ cluster, printer }) => {
        const fencer = await cluster.fencer();
        if (node === undefined) {
          printer.list(evidenceView, (await fencer.listEvidence({})).nodes, 'no nodes are known');
        } else {
          printer.details(evidenceView, present((await fencer.getEvidence({ node })).evidence, 'evidence'));
        }
      });
    });
}
