// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from 'node:crypto';
import type { Vm } from '@lockstep/sdk/v1';
import { UndefineVmResponse } from '@lockstep/sdk/v1';
import { Option, type Command } from 'commander';
import { addWaitOptions, durationArgument, nameArgument, type WaitOptions } from '../arguments.js';
import { readDomainXml } from '../domain-xml.js';
import { CommandError, ExitCode, usageError } from '../exit.js';
import { durationOfMs } from '../output/units.js';
import { placementView } from '../output/views/placement.js';
import { vmView } from '../output/views/vm.js';
import { allPages } from '../pages.js';
import { present } from '../present.js';
import { withCluster, type Work } from '../run.js';
import type { Terminal } from '../terminal.js';
import { STARTED, STOPPED, waitForVm, type VmGoal } from '../vm-wait.js';
import { addAdoptCommand } from './vm-adopt.js';
import { addLogCommand } from './vm-log.js';
import { addMigrateCommands } from './vm-migrate.js';
import { addSetCommand } from './vm-set.js';

const START_LIMIT = '5m';
/** Above the longest graceful shutdown that is usual: three minutes, then force. */
const STOP_LIMIT = '10m';

interface DefineOptions {
  node?: string;
  start?: boolean;
  dryRun?: boolean;
  pauseBudget?: number;
  postCopy?: boolean;
  autoConverge: boolean;
  transferDeadline?: number;
}

export function addVmCommands(program: Command, terminal: Terminal): void {
  const vm = program.command('vm').description('virtual machines');
  addReadCommands(vm, terminal);
  addDefineCommand(vm, terminal);
  addAdoptCommand(vm, terminal);
  addSetCommand(vm, terminal);
  addPowerCommands(vm, terminal);
  addMigrateCommands(vm, terminal);
  addUndefineCommand(vm, terminal);
  addLogCommand(vm, terminal);
}

function addReadCommands(vm: Command, terminal: Terminal): void {
  vm.command('list')
    .description('list all VMs')
    .option('--node <node>', 'only those on this node', nameArgument)
    .action(async ({ node = '' }: { node?: string }, command: Command) => {
      await withCluster(terminal, command, async ({ cluster, printer }) => {
        const vms = await allPages(async (page) => {
          const answer = await cluster.scheduler.listVms({ ...page, node });
          return { items: answer.vms, nextPageToken: answer.nextPageToken };
        });
        printer.list(vmView, vms, 'no VMs');
      });
    });

  vm.command('show')
    .description('show one VM')
    .argument('<vm>', 'its name or UUID', nameArgument)
    .action(async (name: string, _options: object, command: Command) => {
      await withCluster(terminal, command, async ({ cluster, printer }) => {
        printer.details(vmView, present((await cluster.scheduler.getVm({ vm: name })).vm, 'VM'));
      });
    });

  vm.command('explain')
    .description('say which node a VM would go to, and why not the others')
    .argument('<vm>', 'its name or UUID', nameArgument)
    .action(async (name: string, _options: object, command: Command) => {
      await withCluster(terminal, command, async ({ cluster, printer }) => {
        const explanation = await cluster.scheduler.explainPlacement({ vm: name });
        printer.details(placementView, explanation);
        if (explanation.node === '') terminal.err(`no node can take ${name}\n`);
      });
    });
}

function addDefineCommand(vm: Command, terminal: Terminal): void {
  vm.command('define')
    .description("define a VM from libvirt's domain XML")
    .argument('<file>', 'the XML, at most 256 KiB; - reads stdin')
    .option('--node <node>', 'assign it to this node, not to the best one', nameArgument)
    .option('--start', 'start it at once')
    .addOption(new Option('--pause-budget <duration>', 'how long it may stand still at the end of a live move').argParser(durationArgument))
    .option('--post-copy', 'a live move that does not converge may switch to post-copy')
    .option('--no-auto-converge', 'it is never slowed down so that a live move converges')
    .addOption(new Option('--transfer-deadline <duration>', 'until when a live move must have sent its memory').argParser(durationArgument))
    .option('--dry-run', 'only say what would be')
    .action(async (file: string, options: DefineOptions, command: Command) => {
      const { node = '', start = false, dryRun = false } = options;
      const domainXml = await readDomainXml(file, terminal);
      await withCluster(terminal, command, async ({ cluster, printer }) => {
        const request = { requestId: randomUUID(), spec: { domainXml, ...limitsOf(options) }, node, start, validateOnly: dryRun };
        const defined = present((await cluster.scheduler.defineVm(request)).vm, 'VM');
        printer.row(vmView, defined);
        if (dryRun) terminal.err('dry run: nothing was changed\n');
      });
    });
}

function limitsOf({ pauseBudget, postCopy = false, autoConverge, transferDeadline }: DefineOptions) {
  return {
    pauseBudget: pauseBudget === undefined ? undefined : durationOfMs(pauseBudget),
    allowPostCopy: postCopy,
    migrationLimits: { autoConverge, deadline: transferDeadline === undefined ? undefined : durationOfMs(transferDeadline) },
  };
}

function addPowerCommands(vm: Command, terminal: Terminal): void {
  const start = vm
    .command('start')
    .description('want a VM to run')
    .argument('<vm>', 'its name or UUID', nameArgument)
    .option('--node <node>', 'on this node, not where it is assigned', nameArgument);
  addWaitOptions(start, 'it runs', START_LIMIT).action(
    async (name: string, options: WaitOptions & { node?: string }, command: Command) => {
      await withCluster(terminal, command, async (work) => {
        const { vm: wanted } = await work.cluster.scheduler.startVm({ vm: name, node: options.node ?? '' });
        await printWhenDone(work, present(wanted, 'VM'), STARTED, options);
      });
    },
  );

  const stop = vm
    .command('stop')
    .description('want a VM to be stopped: gracefully within its limit, then by force')
    .argument('<vm>', 'its name or UUID', nameArgument)
    .option('--force', 'by force at once');
  addWaitOptions(stop, 'it is stopped', STOP_LIMIT).action(
    async (name: string, options: WaitOptions & { force?: boolean }, command: Command) => {
      await withCluster(terminal, command, async (work) => {
        const { vm: wanted } = await work.cluster.scheduler.stopVm({ vm: name, force: options.force ?? false });
        await printWhenDone(work, present(wanted, 'VM'), STOPPED, options);
      });
    },
  );

  vm.command('restart')
    .description("restart a running guest's system in place")
    .argument('<vm>', 'its name or UUID', nameArgument)
    .option('--force', 'reset it at once')
    .action(async (name: string, { force = false }: { force?: boolean }, command: Command) => {
      await withCluster(terminal, command, async ({ cluster, printer }) => {
        printer.row(vmView, present((await cluster.scheduler.restartVm({ vm: name, force })).vm, 'VM'));
      });
    });
}

async function printWhenDone(work: Work, vm: Vm, goal: VmGoal, { wait, timeout }: WaitOptions): Promise<void> {
  const { cluster, printer, terminal } = work;
  printer.row(vmView, wait === true ? await waitForVm(cluster, terminal, vm, goal, timeout) : vm);
}

function addUndefineCommand(vm: Command, terminal: Terminal): void {
  vm.command('undefine')
    .description('forget a stopped VM: its record and its definition, not its disks')
    .argument('<vm>', 'its name or UUID', nameArgument)
    .option('--yes', 'do not ask')
    .action(async (name: string, { yes = false }: { yes?: boolean }, command: Command) => {
      if (!yes) await confirm(terminal, name);
      await withCluster(terminal, command, async ({ cluster, printer }) => {
        await cluster.scheduler.undefineVm({ vm: name });
        printer.done(UndefineVmResponse.toJSON({}), name);
        terminal.err(`${name} is forgotten\n`);
      });
    });
}

/** Asks before something that cannot be undone; without a terminal to ask on it names the option. */
async function confirm(terminal: Terminal, name: string): Promise<void> {
  if (!terminal.canAsk) {
    throw usageError(
      'CONFIRMATION_NEEDED',
      `undefining ${name} cannot be undone and there is no terminal to ask on: give --yes`,
      `lockstep vm undefine ${name} --yes`,
    );
  }
  const answer = await terminal.ask(`Forget ${name}? Its definition cannot be brought back. [y/N] `);
  if (!/^y(es)?$/i.test(answer.trim())) {
    throw new CommandError(ExitCode.FAILED, 'NOT_CONFIRMED', 'not confirmed; nothing was changed');
  }
}
