// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from 'node:crypto';
import { MigrationMode } from '@lockstep/sdk/v1';
import { Option, type Command } from 'commander';
import { addWaitOptions, bytesArgument, nameArgument, type WaitOptions } from '../arguments.js';
import { checkSucceeded, followMigration } from '../follow.js';
import { migrationView } from '../output/views/migration.js';
import { present } from '../present.js';
import { withCluster } from '../run.js';
import type { Terminal } from '../terminal.js';
import { MIGRATION_LIMIT } from './migration.js';

interface MigrateOptions extends WaitOptions {
  forceLive?: boolean;
  shutdown?: boolean;
  bandwidth?: bigint;
  setHome?: boolean;
  dryRun?: boolean;
}

export function addMigrateCommand(vm: Command, terminal: Terminal): void {
  const migrate = vm
    .command('migrate')
    .description('move a VM to another node: live, or by shutdown and start where live is ruled out')
    .argument('<vm>', 'its name or UUID', nameArgument)
    .argument('[node]', 'where to; the best node unless given', nameArgument)
    .addOption(new Option('--force-live', 'live or not at all: never shut it down').conflicts('shutdown'))
    .option('--shutdown', 'shut it down here and start it there')
    .option('--bandwidth <rate>', 'send at most this much per second, e.g. 100MiB', bytesArgument)
    .option('--set-home', "make that node the VM's home")
    .addOption(new Option('--dry-run', 'only say what would be').conflicts('wait'));
  addWaitOptions(migrate, 'the migration has ended', MIGRATION_LIMIT).action(
    async (name: string, node: string | undefined, options: MigrateOptions, command: Command) => {
      await withCluster(terminal, command, async ({ cluster, printer }) => {
        const { migration } = await cluster.scheduler.createMigration({
          requestId: randomUUID(),
          vm: name,
          targetNode: node ?? '',
          mode: modeOf(options),
          bandwidthLimitBytesPerSecond: options.bandwidth ?? 0n,
          setHome: options.setHome ?? false,
          validateOnly: options.dryRun ?? false,
        });
        const queued = present(migration, 'migration');
        if (options.dryRun === true) {
          printer.details(migrationView, queued);
          terminal.err('dry run: nothing was changed\n');
        } else if (options.wait === true) {
          terminal.err(`migration ${queued.id}\n`);
          const ended = await followMigration(cluster, terminal, queued.id, { timeoutMs: options.timeout });
          printer.details(migrationView, ended);
          checkSucceeded(ended);
        } else {
          printer.row(migrationView, queued);
          terminal.err(`follow it: lockstep migration watch ${queued.id}\n`);
        }
      });
    },
  );
}

function modeOf({ forceLive = false, shutdown = false }: MigrateOptions): MigrationMode {
  if (forceLive) return MigrationMode.LIVE_ONLY;
  return shutdown ? MigrationMode.SHUTDOWN : MigrationMode.LIVE_OR_SHUTDOWN;
}
