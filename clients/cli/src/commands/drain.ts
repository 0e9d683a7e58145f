// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from 'node:crypto';
import type { Command } from 'commander';
import { addWaitOptions, nameArgument, timeoutOption, type WaitOptions } from '../arguments.js';
import { waitForDrain } from '../drain-wait.js';
import { drainView } from '../output/views/drain.js';
import { allPages } from '../pages.js';
import { present } from '../present.js';
import { withCluster } from '../run.js';
import type { Terminal } from '../terminal.js';

const DRAIN_LIMIT = '1d';

export function addDrainCommands(program: Command, terminal: Terminal): void {
  const drain = program.command('drain').description('the emptying of nodes; begun by: lockstep node drain');

  drain
    .command('list')
    .description('list drains, newest first')
    .action(async (_options: object, command: Command) => {
      await withCluster(terminal, command, async ({ cluster, printer }) => {
        const drains = await allPages(async (page) => {
          const answer = await cluster.scheduler.listDrains(page);
          return { items: answer.drains, nextPageToken: answer.nextPageToken };
        });
        printer.list(drainView, drains, 'no drains');
      });
    });

  drain
    .command('show')
    .description('show one drain and what holds it up')
    .argument('<drain>', 'its ID', nameArgument)
    .action(async (id: string, _options: object, command: Command) => {
      await withCluster(terminal, command, async ({ cluster, printer }) => {
        printer.details(drainView, present((await cluster.scheduler.getDrain({ id })).drain, 'drain'));
      });
    });

  drain
    .command('watch')
    .description('follow a drain to its end; Ctrl-C lets go of it and does not cancel it')
    .argument('<drain>', 'its ID', nameArgument)
    .addOption(timeoutOption('how long to watch', DRAIN_LIMIT))
    .action(async (id: string, { timeout }: { timeout: number }, command: Command) => {
      await withCluster(terminal, command, async ({ cluster, printer }) => {
        printer.details(drainView, await waitForDrain(cluster, terminal, id, timeout));
      });
    });

  drain
    .command('cancel')
    .description('call a drain off, at once; the node stays cordoned until: lockstep node ready')
    .argument('<drain>', 'its ID', nameArgument)
    .action(async (id: string, _options: object, command: Command) => {
      await withCluster(terminal, command, async ({ cluster, printer }) => {
        const drained = present((await cluster.scheduler.cancelDrain({ id })).drain, 'drain');
        printer.row(drainView, drained);
        terminal.err(`${drained.node} stays cordoned; to have it take VMs again: lockstep node ready ${drained.node}\n`);
      });
    });
}

/** `node drain`: a drain of a node from its begin on. */
export function addNodeDrainCommand(node: Command, terminal: Terminal): void {
  const drain = node
    .command('drain')
    .description('cordon a node and move all its VMs away')
    .argument('<node>', 'its name', nameArgument)
    .option('--dry-run', 'only say which VMs could not leave');
  addWaitOptions(drain, 'the hypervisor itself confirms that no VM is left', DRAIN_LIMIT).action(
    async (name: string, options: WaitOptions & { dryRun?: boolean }, command: Command) => {
      await withCluster(terminal, command, async ({ cluster, printer }) => {
        const request = { requestId: randomUUID(), node: name, validateOnly: options.dryRun ?? false };
        const begun = present((await cluster.scheduler.createDrain(request)).drain, 'drain');
        if (options.dryRun === true) {
          printer.details(drainView, begun);
          terminal.err('dry run: nothing was changed\n');
        } else if (options.wait === true) {
          printer.details(drainView, await waitForDrain(cluster, terminal, begun.id, options.timeout));
        } else {
          printer.row(drainView, begun);
          terminal.err(`see how it ends: lockstep drain watch ${begun.id}\n`);
        }
      });
    },
  );
}
