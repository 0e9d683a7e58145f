// SPDX-License-Identifier: Apache-2.0
import { FenceActionState } from '@lockstep/sdk/v1';
import type { Command } from 'commander';
import { nameArgument, timeoutOption } from '../arguments.js';
import { attached } from '../attached.js';
import { followDrill } from '../drill/follow.js';
import { planDrill } from '../drill/preflight.js';
import { DrillTimeline } from '../drill/timeline.js';
import { CommandError, ExitCode, usageError } from '../exit.js';
import { printable } from '../output/style.js';
import { formatMs } from '../output/units.js';
import { drillView } from '../output/views/drill.js';
import { retyped } from '../retyped.js';
import { withCluster, type Work } from '../run.js';
import type { Terminal } from '../terminal.js';

interface DrillOptions {
  kill?: string;
  confirm?: string;
  dryRun?: boolean;
  waitBack?: boolean;
  timeout: number;
}

/** `cluster drill`: kills a host on purpose and measures how its VMs come back. */
export function addDrillCommand(cluster: Command, terminal: Terminal): void {
  cluster
    .command('drill')
    .description('kill a node on purpose and measure: until suspicion, until the proof, until each of its VMs runs again')
    .argument('<node>', 'its name', nameArgument)
    .option('--kill <command>', 'what kills it, run by the shell; else the Fencer powers it off, and detection is not measured', nameArgument)
    .option('--confirm <node>', "the node's name again; asked for where it is not given", nameArgument)
    .option('--dry-run', 'only say what would happen, and whether the cluster is fit for it')
    .option('--wait-back', 'go on until the node has joined again and is ready')
    .addOption(timeoutOption('how long all of it may take', '10m'))
    .action(async (node: string, options: DrillOptions, command: Command) => {
      await withCluster(terminal, command, (work) => drill(work, node, options));
    });
}

async function drill({ cluster, printer, terminal }: Work, node: string, options: DrillOptions): Promise<void> {
  const { kill, waitBack = false, dryRun = false, timeout, confirm: given } = options;
  if (given !== undefined) checkAgain(node, given);
  const plan = await planDrill(cluster, { node, command: kill, waitBack });
  const tell = (line: string): void => {
    terminal.err(`${printable(line)}\n`);
  };
  const timeline = new DrillTimeline(plan, () => performance.now(), tell);
  if (dryRun) {
    printer.details(drillView, timeline.report());
    terminal.err('dry run: nothing was done\n');
    return;
  }
  for (const { vm, expected, forecast } of plan.vms) tell(`${vm.name}  ${expected}${forecast === '' ? '' : `, now likely on ${forecast}`}`);
  if (given === undefined) checkAgain(node, await retyped(terminal, `This kills ${node} with its ${String(plan.vms.length)} VMs.`));
  const limits = { timeoutMs: timeout, goesOn: 'the recovery goes on', next: 'lockstep fence list --open' };
  try {
    await attached(terminal, limits, (signal) => followDrill(cluster, timeline, signal, timeout));
  } catch (error) {
    printer.details(drillView, timeline.report());
    throw error instanceof CommandError && error.reason === 'WAIT_TIMEOUT' ? shortOf(timeline, timeout) : error;
  }
  printer.details(drillView, timeline.report());
  if (!timeline.report().passed) throw shortOf(timeline, timeout);
}

function checkAgain(node: string, again: string): void {
  if (again === node) return;
  const message = `got "${again}", want the node's name again, "${node}"; nothing was done`;
  throw usageError('CONFIRM_DIFFERS', message, `lockstep cluster drill ${node} --dry-run`);
}

/** What is missing of a drill that did not come to its end, the first thing first. */
function shortOf(timeline: DrillTimeline, timeoutMs: number): CommandError {
  const { node, suspected, proven, vms, detectionMeasured } = timeline.report();
  const { action } = timeline;
  const within = `within ${formatMs(timeoutMs)}`;
  if (proven === undefined && action !== undefined) {
    const isHeld = action.state === FenceActionState.HELD;
    const next = isHeld ? `lockstep fence release ${action.id} --reason TEXT` : `lockstep fence show ${action.id}`;
    const isOpen = isHeld || action.state === FenceActionState.UNCERTAIN || action.state === FenceActionState.RUNNING;
    const exitCode = isOpen ? ExitCode.UNCERTAIN : ExitCode.FAILED;
    return new CommandError(exitCode, action.reason, `${node} was not proven off ${within}: ${action.detail}`, next);
  }
  if (proven === undefined) {
    const isQuiet = detectionMeasured && suspected === undefined;
    const message = isQuiet ? `nobody missed ${node} ${within}: does it live?` : `${node} was not fenced ${within}`;
    return new CommandError(ExitCode.FAILED, isQuiet ? 'NOT_SUSPECTED' : 'NOT_FENCED', message, `lockstep fence evidence ${node}`);
  }
  const missing = vms.filter(({ expected, afterMs }) => expected !== 'left alone' && afterMs === undefined);
  const [first] = missing;
  if (first === undefined) {
    return new CommandError(ExitCode.FAILED, 'NODE_NOT_BACK', `${node} is not back ${within}`, `lockstep node show ${node}`);
  }
  const message = `${missing.map(({ name }) => name).join(', ')} not running again ${within}: ${first.name} is ${first.state}${first.detail === '' ? '' : `: ${first.detail}`}`;
  return new CommandError(ExitCode.FAILED, first.reason === '' ? 'VM_NOT_RUNNING' : first.reason, message, `lockstep vm show ${first.name}`);
}
