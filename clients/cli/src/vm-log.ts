// SPDX-License-Identifier: Apache-2.0
import { setTimeout as pause } from 'node:timers/promises';
import type { Lockstep } from '@lockstep/sdk';
import { ApiError } from '@lockstep/sdk/errors';
import type { StreamVmLogRequest, Vm } from '@lockstep/sdk/v1';
import { CommandError, ExitCode, exitCodeOf } from './exit.js';
import { present } from './present.js';
import type { Terminal } from './terminal.js';

const LOOK_EVERY_MS = 500;

/** Where reading has come to: the node, its agent, and how far into the file there. */
interface Place {
  node: string;
  offset: bigint;
}

/**
 * Prints a VM's console. Following, it goes on where the VM is: after a move at the target, from where the guest arrived;
 * after a lost connection where it was.
 */
export async function streamLog(
  cluster: Lockstep,
  terminal: Terminal,
  name: string,
  { lines, follow }: { lines: number; follow: boolean },
): Promise<void> {
  const interrupted = new AbortController();
  const forget = terminal.onInterrupt(() => {
    interrupted.abort();
  });
  const { signal } = interrupted;
  const print = printer(terminal);
  let place: Place | undefined;
  try {
    while (!signal.aborted) {
      const vm = present((await cluster.scheduler.getVm({ vm: name }, { signal })).vm, 'VM');
      const node = nodeOf(vm);
      const how = beginning(place, node, lines);
      try {
        const agent = cluster.nodeAgent(await addressOf(cluster, node, signal));
        for await (const { data, offset } of agent.streamVmLog({ vmId: vm.id, follow, ...how }, { signal })) {
          print(data);
          place = { node, offset };
        }
        place ??= { node, offset: 0n };
      } catch (error) {
        if (!follow || !mayPass(error)) throw error;
      }
      if (!follow) return;
      await pause(LOOK_EVERY_MS, undefined, { signal });
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    forget();
  }
  throw new CommandError(ExitCode.DETACHED, 'DETACHED', 'no longer followed', `lockstep vm log ${name} --follow`);
}

/** At first the tail; on the same node where it was; on another one from the guest's arrival. */
function beginning(place: Place | undefined, node: string, lines: number): Partial<StreamVmLogRequest> {
  if (place === undefined) return { tailLines: lines };
  return place.node === node ? { fromOffset: place.offset } : { fromArrival: true };
}

function nodeOf({ name, placement, status }: Vm): string {
  const node = placement?.node ?? status?.node ?? '';
  if (node !== '') return node;
  throw new CommandError(ExitCode.PRECONDITION, 'VM_NOT_RUNNING', `${name} is on no node`, `lockstep vm show ${name}`);
}

async function addressOf(cluster: Lockstep, name: string, signal: AbortSignal): Promise<string> {
  return present((await cluster.scheduler.getNode({ name }, { signal })).node, 'node').address;
}

/** What a reader that follows waits for: an agent that is away, and a VM that is between two nodes or stopped. */
function mayPass(error: unknown): boolean {
  if (!(error instanceof ApiError)) return false;
  return exitCodeOf(error) === ExitCode.UNAVAILABLE || error.reason === 'DOMAIN_NOT_FOUND';
}

/** A guest may write whatever it likes: nothing of it reaches a terminal but text, tabs and line ends. */
function printer(terminal: Terminal): (data: Uint8Array) => void {
  const decoder = new TextDecoder();
  return (data) => {
    const text = decoder.decode(data, { stream: true });
    terminal.out(terminal.outIsTty ? text.replace(/[^\P{Cc}\t\n]/gu, '') : text);
  };
}
