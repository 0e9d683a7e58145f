// SPDX-License-Identifier: Apache-2.0
import { ClusterOptions, ShutdownPolicy } from '@lockstep/sdk/v1';
import type { Command } from 'commander';
import { bytesArgument, orDefault, ratioArgument, SELECTORS, settingOf, wholeNumberArgument, wordOption, type DEFAULT } from '../arguments.js';
import { usageError } from '../exit.js';
import { optionsView } from '../output/views/options.js';
import { present } from '../present.js';
import { withCluster } from '../run.js';
import type { Terminal } from '../terminal.js';

const POLICIES = {
  default: ShutdownPolicy.UNSPECIFIED,
  conditional: ShutdownPolicy.CONDITIONAL,
  migrate: ShutdownPolicy.MIGRATE,
  failover: ShutdownPolicy.FAILOVER,
  freeze: ShutdownPolicy.FREEZE,
} as const;

type Default = typeof DEFAULT;

/** What commander makes of the options; what was not given is not changed, and DEFAULT takes it back. */
interface SetOptions {
  memoryRatio?: number | Default;
  memoryReserve?: bigint | Default;
  vcpuRatio?: number | Default;
  migrationsOut?: number | Default;
  migrationsIn?: number | Default;
  migrations?: number | Default;
  selector?: keyof typeof SELECTORS;
  shutdownPolicy?: keyof typeof POLICIES;
}

/** `cluster options show` and `set`. */
export function addOptionsCommands(cluster: Command, terminal: Terminal): void {
  const options = cluster.command('options').description('what is set for the whole cluster');
  options
    .command('show')
    .description('show what is set, and the defaults of the rest')
    .action(async (_options: object, command: Command) => {
      await withCluster(terminal, command, async ({ cluster: api, printer }) => {
        const answer = present((await api.scheduler.getCluster({})).cluster, 'cluster');
        printer.details(optionsView, answer.options ?? ClusterOptions.create());
      });
    });

  const count = orDefault(wholeNumberArgument(1, 100_000));
  options
    .command('set')
    .description('change what is set; only what is given changes, and "default" takes a setting back')
    .option('--memory-ratio <ratio>', "provisioned memory may reach this multiple of a node's", orDefault(ratioArgument))
    .option('--memory-reserve <size>', 'memory kept free for each host itself', orDefault(bytesArgument))
    .option('--vcpu-ratio <ratio>', "provisioned vCPUs may reach this multiple of a node's CPUs", orDefault(ratioArgument))
    .option('--migrations-out <count>', 'moves out of a node at a time', count)
    .option('--migrations-in <count>', 'moves into a node at a time', count)
    .option('--migrations <count>', 'moves in the cluster at a time', count)
    .addOption(wordOption('--selector <name>', 'by what a node is chosen where the VM does not say', SELECTORS))
    .addOption(wordOption('--shutdown-policy <policy>', 'what becomes of VMs of a host that goes down in order', POLICIES))
    .action(async (given: SetOptions, command: Command) => {
      if (Object.keys(given).length === 0) throw usageError('NOTHING_TO_SET', 'nothing is to be set: see lockstep cluster options set --help');
      await withCluster(terminal, command, async ({ cluster: api, printer }) => {
        const before = present((await api.scheduler.getCluster({})).cluster, 'cluster').options ?? ClusterOptions.create();
        const answer = await api.scheduler.updateOptions({ options: changed(before, given) });
        printer.details(optionsView, present(answer.options, 'options'));
      });
    });
}

function changed(before: ClusterOptions, given: SetOptions): ClusterOptions {
  const { memoryRatio, memoryReserve, vcpuRatio, migrationsOut, migrationsIn, migrations, selector, shutdownPolicy } = given;
  return {
    ...before,
    ...(memoryRatio === undefined ? {} : { memoryRatio: settingOf(memoryRatio) }),
    ...(memoryReserve === undefined ? {} : { memoryReserveBytes: settingOf(memoryReserve) }),
    ...(vcpuRatio === undefined ? {} : { vcpuRatio: settingOf(vcpuRatio) }),
    ...(migrationsOut === undefined ? {} : { migrationsOutPerNode: settingOf(migrationsOut) }),
    ...(migrationsIn === undefined ? {} : { migrationsInPerNode: settingOf(migrationsIn) }),
    ...(migrations === undefined ? {} : { migrationsPerCluster: settingOf(migrations) }),
    ...(selector === undefined ? {} : { selector: SELECTORS[selector] }),
    ...(shutdownPolicy === undefined ? {} : { shutdownPolicy: POLICIES[shutdownPolicy] }),
  };
}
