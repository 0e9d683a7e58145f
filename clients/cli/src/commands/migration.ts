// SPDX-License-Identifier: Apache-2.0
import { CompletionMethod } from '@lockstep/sdk/v1';
import { Option, type Command } from 'commander';
import { countArgument, nameArgument, timeoutOption } from '../arguments.js';
import { usageError } from '../exit.js';
import { checkSucceeded, followMigration } from '../follow.js';
import { migrationView } from '../output/views/migration.js';
import { allPages } from '../pages.js';
import { present } from '../present.js';
import { withCluster } from '../run.js';
import type { Terminal } from '../terminal.js';

/** Limit of a wait for a migration unless told otherwise: far above what any takes that still moves. */
export const MIGRATION_LIMIT = '1d';

/** Both ends are asked anew before the word counts. */
const RESOLVE_LIMIT_MS = 70_000;

interface CompleteOptions {
  pause?: boolean;
  postCopy?: boolean;
}

interface ResolveOptions {
  on?: string;
  nowhere?: boolean;
  reason: string;
}

interface ListOptions {
  vm?: string;
  open?: boolean;
  limit?: number;
}

export function addMigrationCommands(program: Command, terminal: Terminal): void {
  const migration = program.command('migration').description('moves of VMs from node to node');

  migration
    .command('list')
    .description('list migrations, newest first')
    .option('--vm <vm>', 'only those of this VM', nameArgument)
    .option('--open', 'only those that have not ended')
    .option('--limit <count>', 'at most this many', countArgument)
    .action(async ({ vm = '', open = false, limit }: ListOptions, command: Command) => {
      await withCluster(terminal, command, async ({ cluster, printer }) => {
        const migrations = await allPages(async (page) => {
          const answer = await cluster.scheduler.listMigrations({ ...page, vm, openOnly: open });
          return { items: answer.migrations, nextPageToken: answer.nextPageToken };
        }, limit);
        printer.list(migrationView, migrations, 'no migrations');
      });
    });

  migration
    .command('show')
    .description('show one migration with its phases')
    .argument('<id>', 'its ID', nameArgument)
    .action(async (id: string, _options: object, command: Command) => {
      await withCluster(terminal, command, async ({ cluster, printer }) => {
        const answer = await cluster.scheduler.getMigration({ id });
        printer.details(migrationView, present(answer.migration, 'migration'));
      });
    });

  migration
    .command('watch')
    .description('follow a migration to its end; Ctrl-C lets go of it and does not cancel it')
    .argument('<id>', 'its ID', nameArgument)
    .addOption(timeoutOption('how long to watch', MIGRATION_LIMIT))
    .action(async (id: string, { timeout }: { timeout: number }, command: Command) => {
      await withCluster(terminal, command, async ({ cluster, printer }) => {
        const ended = await followMigration(cluster, terminal, id, { timeoutMs: timeout });
        printer.details(migrationView, ended);
        checkSucceeded(ended);
      });
    });

  migration
    .command('cancel')
    .description('call a migration off; refused once the target was told to take over')
    .argument('<id>', 'its ID', nameArgument)
    .action(async (id: string, _options: object, command: Command) => {
      await withCluster(terminal, command, async ({ cluster, printer }) => {
        const answer = await cluster.scheduler.cancelMigration({ id });
        printer.row(migrationView, present(answer.migration, 'migration'));
        terminal.err(`cancel was asked for; see how it ends: lockstep migration watch ${id}\n`);
      });
    });

  migration
    .command('complete')
    .description('bring a transfer that does not converge to its end')
    .argument('<id>', 'its ID', nameArgument)
    .addOption(new Option('--pause', 'pause the guest until the rest is sent').conflicts('postCopy'))
    .option('--post-copy', 'let it run on its target while the rest is fetched; there is no way back from it')
    .action(async (id: string, { pause = false, postCopy = false }: CompleteOptions, command: Command) => {
      if (pause === postCopy) throw usageError('USAGE', 'want --pause or --post-copy', 'lockstep migration complete --help');
      await withCluster(terminal, command, async ({ cluster, printer }) => {
        const method = pause ? CompletionMethod.PAUSE : CompletionMethod.POST_COPY;
        const answer = await cluster.scheduler.completeMigration({ id, method });
        printer.row(migrationView, present(answer.migration, 'migration'));
        terminal.err(`see how it ends: lockstep migration watch ${id}\n`);
      });
    });

  migration
    .command('resolve')
    .description('settle an UNCERTAIN migration: say where you found the guest. What an end denies is refused')
    .argument('<id>', 'its ID', nameArgument)
    .addOption(new Option('--on <node>', 'it is on this node').argParser(nameArgument).conflicts('nowhere'))
    .option('--nowhere', 'it is on neither node: start it anew')
    .requiredOption('--reason <text>', 'how you know, for the record', nameArgument)
    .action(async (id: string, { on = '', nowhere = false, reason }: ResolveOptions, command: Command) => {
      if ((on === '') !== nowhere) throw usageError('USAGE', 'want --on NODE or --nowhere', 'lockstep migration resolve --help');
      await withCluster(terminal, command, async ({ cluster, printer }) => {
        const answer = await cluster.scheduler.resolveMigration({ id, node: on, reason }, { deadlineMs: RESOLVE_LIMIT_MS });
        printer.row(migrationView, present(answer.migration, 'migration'));
        terminal.err(`see how it ends: lockstep migration watch ${id}\n`);
      });
    });
}
