// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from 'node:crypto';
import { MigrationMode, type CreateMigrationRequest } from '@lockstep/sdk/v1';
import { Option, type Command } from 'commander';
import { addWaitOptions, bytesArgument, durationArgument, nameArgument, priorityArgument, type WaitOptions } from '../arguments.js';
import { checkSucceeded, followMigration } from '../follow.js';
import { durationOfMs } from '../output/units.js';
import { migrationView } from '../output/views/migration.js';
import { present } from '../present.js';
import { withCluster, type Work } from '../run.js';
import type { Terminal } from '../terminal.js';
import { MIGRATION_LIMIT } from './migration.js';

interface MoveOptions extends WaitOptions {
  forceLive?: boolean;
  shutdown?: boolean;
  bandwidth?: bigint;
  priority: number;
  transferDeadline?: number;
  dryRun?: boolean;
}

interface MigrateOptions extends MoveOptions {
  setHome?: boolean;
}

/** `vm migrate` moves and keeps the home, `vm move` moves the home along, `vm unmigrate` goes back to it. */
export function addMigrateCommands(vm: Command, terminal: Terminal): void {
  const migrate = vm
    .command('migrate')
    .description('move a VM to another node: live, or by shutdown and start where live is ruled out')
    .argument('<vm>', 'its name or UUID', nameArgument)
    .argument('[node]', 'where to; the best node unless given', nameArgument)
    .option('--set-home', "make that node the VM's home");
  addMoveOptions(migrate).action(async (name: string, node: string | undefined, options: MigrateOptions, command: Command) => {
    await withCluster(terminal, command, async (work) => {
      await ask(work, terminal, { vm: name, targetNode: node ?? '', setHome: options.setHome ?? false }, options);
    });
  });

  const move = vm
    .command('move')
    .description('move a VM and make its new node its home')
    .argument('<vm>', 'its name or UUID', nameArgument)
    .argument('[node]', 'where to; the best node unless given', nameArgument);
  addMoveOptions(move).action(async (name: string, node: string | undefined, options: MoveOptions, command: Command) => {
    await withCluster(terminal, command, async (work) => {
      await ask(work, terminal, { vm: name, targetNode: node ?? '', setHome: true }, options);
    });
  });

  const unmigrate = vm
    .command('unmigrate')
    .description('move a VM back to its home')
    .argument('<vm>', 'its name or UUID', nameArgument);
  addMoveOptions(unmigrate).action(async (name: string, options: MoveOptions, command: Command) => {
    await withCluster(terminal, command, async (work) => {
      const { id, homeNode } = present((await work.cluster.scheduler.getVm({ vm: name })).vm, 'VM');
      await ask(work, terminal, { vm: id, targetNode: homeNode, setHome: false }, options);
    });
  });
}

/** The options that every kind of move has. */
function addMoveOptions(command: Command): Command {
  command
    .addOption(new Option('--force-live', 'live or not at all: never shut it down').conflicts('shutdown'))
    .option('--shutdown', 'shut it down here and start it there')
    .option('--bandwidth <rate>', 'send at most this much per second, e.g. 100MiB', bytesArgument)
    .addOption(new Option('--transfer-deadline <duration>', 'until when a live transfer must be at its end').argParser(durationArgument))
    .option('--priority <number>', 'the larger goes first among those that wait: -100 to 99', priorityArgument, 0)
    .addOption(new Option('--dry-run', 'only say what would be').conflicts('wait'));
  return addWaitOptions(command, 'the migration has ended', MIGRATION_LIMIT);
}

type Move = Pick<CreateMigrationRequest, 'vm' | 'targetNode' | 'setHome'>;

async function ask({ cluster, printer }: Work, terminal: Terminal, move: Move, options: MoveOptions): Promise<void> {
  const { migration } = await cluster.scheduler.createMigration({
    ...move,
    requestId: randomUUID(),
    mode: modeOf(options),
    bandwidthLimitBytesPerSecond: options.bandwidth ?? 0n,
    priority: options.priority,
    transferDeadline: options.transferDeadline === undefined ? undefined : durationOfMs(options.transferDeadline),
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
}

function modeOf({ forceLive = false, shutdown = false }: MoveOptions): MigrationMode {
  if (forceLive) return MigrationMode.LIVE_ONLY;
  return shutdown ? MigrationMode.SHUTDOWN : MigrationMode.LIVE_OR_SHUTDOWN;
}
