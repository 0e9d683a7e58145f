// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from 'node:crypto';
import { ArmResponse, DisarmMode, DisarmResponse, Fenceability, FenceActionState, type FenceAction } from '@lockstep/sdk/v1';
import { Option, type Command } from 'commander';
import { countArgument, nameArgument, timeoutOption } from '../arguments.js';
import { CommandError, ExitCode } from '../exit.js';
import { evidenceView, fenceActionView, fenceAttemptView } from '../output/views/fence.js';
import { allPages } from '../pages.js';
import { present } from '../present.js';
import { retyped } from '../retyped.js';
import { withCluster } from '../run.js';
import type { Terminal } from '../terminal.js';

interface Reasoned {
  reason: string;
}

const TERMINAL: readonly FenceActionState[] = [
  FenceActionState.CONFIRMED,
  FenceActionState.CANCELLED,
  FenceActionState.FAILED,
];
const isOpen = ({ state }: FenceAction): boolean => !TERMINAL.includes(state);

export function addFenceCommands(program: Command, terminal: Terminal): void {
  const fence = program.command('fence').description('which nodes are alive, and proof where they are not');
  addLookCommands(fence, terminal);
  addActCommands(fence, terminal);
  addArmCommands(fence, terminal);
}

function addLookCommands(fence: Command, terminal: Terminal): void {
  fence
    .command('list')
    .description('list fence actions, newest first')
    .option('--open', 'only those that have not ended')
    .option('--limit <count>', 'at most this many', countArgument)
    .action(async ({ open = false, limit }: { open?: boolean; limit?: number }, command: Command) => {
      await withCluster(terminal, command, async ({ cluster, printer }) => {
        const fencer = await cluster.fencer();
        const actions = await allPages(async (page) => {
          const answer = await fencer.listFenceActions(page);
          return { items: answer.fenceActions, nextPageToken: answer.nextPageToken };
        }, limit);
        printer.list(fenceActionView, open ? actions.filter(isOpen) : actions, 'no fence actions');
      });
    });

  fence
    .command('show')
    .description('show one fence action: why, what was tried, and its proof')
    .argument('<id>', 'its ID', nameArgument)
    .action(async (id: string, _options: object, command: Command) => {
      await withCluster(terminal, command, async ({ cluster, printer }) => {
        const { fenceAction } = await (await cluster.fencer()).getFenceAction({ id });
        printer.details(fenceActionView, present(fenceAction, 'fence action'));
      });
    });

  fence
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

function addActCommands(fence: Command, terminal: Terminal): void {
  fence
    .command('test')
    .description("try every rung of a node's ladder from everywhere without harm; fails where one would not work")
    .argument('<node>', 'its name', nameArgument)
    .option('--power-cycle', 'really switch it off and on; refused unless it is cordoned or in maintenance and empty')
    .addOption(timeoutOption('how long to wait for its end; a power cycle goes on afterwards', '15m'))
    .action(async (node: string, { powerCycle = false, timeout }: { powerCycle?: boolean; timeout: number }, command: Command) => {
      await withCluster(terminal, command, async ({ cluster, printer }) => {
        const answer = await (await cluster.fencer()).testFencing({ node, powerCycle }, { deadlineMs: timeout });
        printer.list(fenceAttemptView, answer.attempts, 'nothing is configured that could be tried');
        terminal.err(`${node}: ${answer.detail}\n`);
        if (answer.fenceability === Fenceability.FENCEABLE) return;
        const message = `fencing ${node} would fail: ${answer.detail}`;
        throw new CommandError(ExitCode.FAILED, 'NOT_FENCEABLE', message, `lockstep fence evidence ${node}`);
      });
    });

  fence
    .command('ack')
    .description('say that a node is off: its VMs start elsewhere on your word alone')
    .argument('<node>', 'its name', nameArgument)
    .requiredOption('--reason <text>', 'how you know, for the record', nameArgument)
    .option('--confirm <node>', "the node's name again; asked for where it is not given", nameArgument)
    .action(async (node: string, { reason, confirm }: Reasoned & { confirm?: string }, command: Command) => {
      const danger = `If ${node} still runs, its disks will be written to from two hosts.`;
      const confirmNode = confirm ?? (await retyped(terminal, danger));
      await withCluster(terminal, command, async ({ cluster, printer }) => {
        const answer = await (await cluster.fencer()).acknowledgeDead({ node, confirmNode, reason });
        printer.row(fenceActionView, present(answer.fenceAction, 'fence action'));
      });
    });

  fence
    .command('release')
    .description('let a fence action go on that the brake holds')
    .argument('<id>', 'its ID', nameArgument)
    .requiredOption('--reason <text>', 'why, for the record', nameArgument)
    .action(async (id: string, { reason }: Reasoned, command: Command) => {
      await withCluster(terminal, command, async ({ cluster, printer }) => {
        const answer = await (await cluster.fencer()).releaseFenceAction({ id, reason });
        printer.row(fenceActionView, present(answer.fenceAction, 'fence action'));
      });
    });
}

const MODES = { freeze: DisarmMode.FREEZE, ignore: DisarmMode.IGNORE } as const;

function addArmCommands(fence: Command, terminal: Terminal): void {
  fence
    .command('disarm')
    .description('keep the Fencer from beginning anything in the whole cluster')
    .addOption(
      new Option('--mode <mode>', 'freeze: nothing is fenced, nothing recovered; ignore: VMs are left to their owners')
        .choices(Object.keys(MODES))
        .makeOptionMandatory(),
    )
    .requiredOption('--reason <text>', 'why, for the record', nameArgument)
    .action(async ({ mode, reason }: Reasoned & { mode: keyof typeof MODES }, command: Command) => {
      await withCluster(terminal, command, async ({ cluster, printer }) => {
        const answer = await (await cluster.fencer()).disarm({ mode: MODES[mode], reason });
        printer.done(DisarmResponse.toJSON(answer), 'disarmed');
        terminal.err('the Fencer is disarmed; let it act again: lockstep fence arm\n');
      });
    });

  fence
    .command('arm')
    .description('let the Fencer act again')
    .action(async (_options: object, command: Command) => {
      await withCluster(terminal, command, async ({ cluster, printer }) => {
        printer.done(ArmResponse.toJSON(await (await cluster.fencer()).arm({})), 'armed');
        terminal.err('the Fencer is armed\n');
      });
    });
}

/** `node fence`: asks for a node to be powered off. */
export function addNodeFenceCommand(node: Command, terminal: Terminal): void {
  node
    .command('fence')
    .description('power a node off and prove it; its VMs then start elsewhere')
    .argument('<node>', 'its name', nameArgument)
    .requiredOption('--reason <text>', 'why, for the record', nameArgument)
    .action(async (name: string, { reason }: Reasoned, command: Command) => {
      await withCluster(terminal, command, async ({ cluster, printer }) => {
        const fencer = await cluster.fencer();
        const answer = await fencer.createFenceAction({ requestId: randomUUID(), node: name, reason });
        const action = present(answer.fenceAction, 'fence action');
        printer.row(fenceActionView, action);
        terminal.err(`see how it goes: lockstep fence show ${action.id}\n`);
      });
    });
}
