// SPDX-License-Identifier: Apache-2.0
import { VmDesired, VmRecovery, type VmSpec } from '@lockstep/sdk/v1';
import { Option, type Command } from 'commander';
import { DEFAULT, durationArgument, nameArgument, orDefault, SELECTORS, settingOf, wholeNumberArgument, wordOption } from '../arguments.js';
import { usageError } from '../exit.js';
import { durationOfMs } from '../output/units.js';
import { vmView } from '../output/views/vm.js';
import { present } from '../present.js';
import { withCluster } from '../run.js';
import type { Terminal } from '../terminal.js';

const WISHES = {
  running: VmDesired.RUNNING,
  stopped: VmDesired.STOPPED,
  disabled: VmDesired.DISABLED,
  unmanaged: VmDesired.UNMANAGED,
} as const;
const RECOVERIES = { restart: VmRecovery.RESTART, 'stay-off': VmRecovery.STAY_OFF } as const;

type Default = typeof DEFAULT;

/** What commander makes of the options; what was not given is not changed, and DEFAULT takes it back. */
interface SetOptions {
  desired?: keyof typeof WISHES;
  home?: string;
  priority?: number;
  recovery?: keyof typeof RECOVERIES;
  startAfter?: string[] | Default;
  limit?: string[] | Default;
  selector?: keyof typeof SELECTORS;
  maxRestart?: number | Default;
  maxRelocate?: number | Default;
  failback?: boolean;
  shutdownLimit?: number | Default;
  pauseBudget?: number | Default;
  postCopy?: boolean;
}

/** `vm set`: changes how a VM is treated. Its definition stays. */
export function addSetCommand(vm: Command, terminal: Terminal): void {
  vm.command('set')
    .description('change how a VM is treated; only what is given changes, and "default" takes a setting back')
    .argument('<vm>', 'its name or UUID', nameArgument)
    .addOption(wordOption('--desired <state>', 'what its owner wants of it', WISHES))
    .option('--home <node>', 'the node it belongs to', nameArgument)
    .option('--priority <number>', 'higher is recovered first', wholeNumberArgument(-1_000, 1_000))
    .addOption(wordOption('--recovery <policy>', 'what becomes of it when its node is proven dead', RECOVERIES))
    .option('--start-after <vms...>', 'VMs of the same dead node that are started before it', collected)
    .option('--limit <nodes...>', 'the only nodes it may run on', collected)
    .addOption(wordOption('--selector <name>', 'by what its node is chosen', SELECTORS))
    .option('--max-restart <count>', 'restarts on its node after a crash, before it is relocated', orDefault(wholeNumberArgument(0, 1_000)))
    .option('--max-relocate <count>', 'relocations before it is in ERROR', orDefault(wholeNumberArgument(0, 1_000)))
    .option('--failback', 'it goes back to the node that it was moved away from')
    .option('--no-failback', 'it stays where it was moved')
    .option('--shutdown-limit <duration>', 'how long a graceful shutdown may take', orDefault(durationArgument))
    .option('--pause-budget <duration>', 'how long it may stand still at the end of a live move', orDefault(durationArgument))
    .addOption(new Option('--post-copy', 'a live move that does not converge may switch to post-copy'))
    .addOption(new Option('--no-post-copy', 'it may not'))
    .action(async (name: string, options: SetOptions, command: Command) => {
      if (Object.keys(options).length === 0) throw usageError('NOTHING_TO_SET', 'nothing is to be set: see lockstep vm set --help');
      await withCluster(terminal, command, async ({ cluster, printer }) => {
        const before = present((await cluster.scheduler.getVm({ vm: name })).vm, 'VM');
        const spec = changed(present(before.spec, 'spec'), options);
        const { desired, home: homeNode = '' } = options;
        const wish = desired === undefined ? {} : { desired: WISHES[desired] };
        const answer = await cluster.scheduler.updateVm({ vm: before.id, etag: before.etag, spec, homeNode, ...wish });
        printer.row(vmView, present(answer.vm, 'VM'));
      });
    });
}

function changed(before: VmSpec, options: SetOptions): VmSpec {
  const { priority, recovery, startAfter, limit, selector, maxRestart, maxRelocate, failback, postCopy } = options;
  const { shutdownLimit, pauseBudget } = options;
  return {
    ...before,
    ...(priority === undefined ? {} : { priority }),
    ...(recovery === undefined ? {} : { recovery: RECOVERIES[recovery] }),
    ...(startAfter === undefined ? {} : { startAfter: settingOf(startAfter) ?? [] }),
    ...(limit === undefined ? {} : { nodeLimit: settingOf(limit) ?? [] }),
    ...(selector === undefined ? {} : { selector: SELECTORS[selector] }),
    ...(maxRestart === undefined ? {} : { maxRestart: settingOf(maxRestart) }),
    ...(maxRelocate === undefined ? {} : { maxRelocate: settingOf(maxRelocate) }),
    ...(failback === undefined ? {} : { failback }),
    ...(postCopy === undefined ? {} : { allowPostCopy: postCopy }),
    ...(shutdownLimit === undefined ? {} : { shutdownLimit: shutdownLimit === DEFAULT ? undefined : durationOfMs(shutdownLimit) }),
    ...(pauseBudget === undefined ? {} : { pauseBudget: pauseBudget === DEFAULT ? undefined : durationOfMs(pauseBudget) }),
  };
}

/** Several words, or `default` alone for none. */
function collected(word: string, before: string[] | Default | undefined): string[] | Default {
  if (word === DEFAULT) return DEFAULT;
  return [...(before === DEFAULT ? [] : (before ?? [])), nameArgument(word)];
}
