// SPDX-License-Identifier: Apache-2.0
import type { Lockstep } from '@lockstep/sdk';
import { VmDesired, VmState, type Vm } from '@lockstep/sdk/v1';
import { attached, Patience } from './attached.js';
import { CommandError, ExitCode } from './exit.js';
import { wordOf } from './output/words.js';
import { vmState } from './output/views/vm.js';
import { printable } from './output/style.js';
import type { Terminal } from './terminal.js';

/** What is waited for: the state, and the wish it follows from. */
export interface VmGoal {
  state: VmState;
  desired: VmDesired;
}

export const STARTED: VmGoal = { state: VmState.RUNNING, desired: VmDesired.RUNNING };
export const STOPPED: VmGoal = { state: VmState.STOPPED, desired: VmDesired.STOPPED };

/** How long a VM may be in ERROR after it was started or stopped: the state of before is reported for a while. */
const ERROR_PATIENCE_MS = 15_000;

/** Waits until a VM is in the state asked for; throws where it has become clear that it will not be. */
export async function waitForVm(
  cluster: Lockstep,
  terminal: Terminal,
  { id, name }: Vm,
  goal: VmGoal,
  timeoutMs: number,
): Promise<Vm> {
  const wanted = wordOf(VmDesired, goal.desired);
  const goesOn = `the cluster goes on until ${name} is ${wanted}`;
  const limits = { timeoutMs, goesOn, next: `lockstep vm show ${name}` };
  const patience = new Patience(ERROR_PATIENCE_MS);
  let shown = '';
  try {
    return await attached(terminal, limits, async (signal, stop) => {
      const onUpdate = (vm: Vm): void => {
        const line = printable(`${vm.name}  ${[vmState(vm), reasonOf(vm)].filter((part) => part !== '').join('  ')}`);
        if (line !== shown) terminal.err(`${line}\n`);
        shown = line;
        if (vm.desired !== goal.desired) stop(wishChanged(vm, wanted));
        patience.look(vm.status?.state === VmState.ERROR, () => {
          stop(inError(vm));
        });
      };
      return await cluster.waitForVm(id, [goal.state], { signal, onUpdate });
    });
  } finally {
    patience.end();
  }
}

function reasonOf({ status }: Vm): string {
  return [status?.reason ?? '', status?.detail ?? ''].filter((part) => part !== '').join(': ');
}

function inError(vm: Vm): CommandError {
  const reason = vm.status?.reason ?? '';
  const detail = vm.status?.detail ?? '';
  return new CommandError(
    ExitCode.FAILED,
    reason === '' ? 'VM_ERROR' : reason,
    `${vm.name} is in ERROR${detail === '' ? '' : `: ${detail}`}`,
    `lockstep vm show ${vm.name}`,
  );
}

function wishChanged(vm: Vm, wanted: string): CommandError {
  return new CommandError(
    ExitCode.PRECONDITION,
    'WISH_CHANGED',
    `somebody else now wants ${vm.name} to be ${wordOf(VmDesired, vm.desired)}, not ${wanted}`,
    `lockstep vm show ${vm.name}`,
  );
}
