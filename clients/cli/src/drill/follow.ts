// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Lockstep, WatchLimits } from '@lockstep/sdk';
import { ApiError } from '@lockstep/sdk/errors';
import { CommandError, ExitCode, exitCodeOf } from '../exit.js';
import type { DrillTimeline } from './timeline.js';

/** Evidence has no watch: it is made anew at every question. */
const EVIDENCE_EVERY_MS = 250;

/**
 * Kills the node of the timeline's plan and tells the timeline what is seen of it, until it is over. It kills only once
 * every watch has told how things stood before.
 */
export async function followDrill(cluster: Lockstep, timeline: DrillTimeline, signal: AbortSignal, patienceMs: number): Promise<void> {
  const over = new AbortController();
  let silent = 4;
  let begin = (): void => undefined;
  const allTold = new Promise<void>((resolve) => {
    begin = resolve;
  });
  const end = (): void => {
    over.abort();
    begin();
  };
  signal.addEventListener('abort', end, { once: true });
  const limits: WatchLimits = { signal: over.signal, patienceMs };
  const follow = async <M>(messages: AsyncIterable<M>, take: (message: M) => void): Promise<void> => {
    let isFirst = true;
    for await (const message of messages) {
      take(message);
      if (isFirst) silent -= 1;
      if (silent === 0) begin();
      isFirst = false;
      if (timeline.isOver()) end();
    }
  };
  const work = async (): Promise<void> => {
    await allTold;
    if (over.signal.aborted) return;
    timeline.begin();
    await kill(cluster, timeline, over.signal);
  };
  try {
    await Promise.all([
      follow(cluster.watch.vms(limits), ({ changed }) => {
        for (const vm of changed) timeline.sawVm(vm);
      }),
      follow(cluster.watch.nodes(limits), ({ changed }) => {
        for (const node of changed) timeline.sawNode(node);
      }),
      follow(cluster.watch.fenceActions(limits), ({ changed }) => {
        for (const action of changed) timeline.sawAction(action);
      }),
      follow(looks(cluster, timeline.plan.node, over.signal), (evidence) => {
        timeline.sawEvidence(evidence);
      }),
      work(),
    ]);
  } finally {
    end();
    signal.removeEventListener('abort', end);
  }
  signal.throwIfAborted();
}

/** What is known of the node, again and again; nobody answers for a while where a leader died with it. */
async function* looks(cluster: Lockstep, node: string, signal: AbortSignal) {
  let fencer: Awaited<ReturnType<Lockstep['fencer']>> | undefined;
  while (!hasEnded(signal)) {
    try {
      fencer ??= await cluster.fencer();
      const { evidence } = await fencer.getEvidence({ node }, { signal });
      if (evidence !== undefined) yield evidence;
    } catch (error) {
      if (hasEnded(signal)) return;
      if (!(error instanceof ApiError) || exitCodeOf(error) !== ExitCode.UNAVAILABLE) throw error;
      fencer = undefined;
    }
    await sleep(EVIDENCE_EVERY_MS, undefined, { signal }).catch(() => undefined);
  }
}

/** Asked through a function, as the compiler takes a signal that was not aborted for one that never will be. */
const hasEnded = (signal: AbortSignal): boolean => signal.aborted;

async function kill(cluster: Lockstep, timeline: DrillTimeline, signal: AbortSignal): Promise<void> {
  const { node, command } = timeline.plan;
  if (command === undefined) {
    const fencer = await cluster.fencer();
    const reason = 'a drill: lockstep cluster drill';
    await fencer.createFenceAction({ requestId: randomUUID(), node, reason }, { signal });
    return;
  }
  const ended = await run(command, signal);
  if (ended === undefined) return;
  timeline.commandEnded();
  if (ended === '0') return;
  const message = `the command that was to kill ${node} ended with ${ended}: ${command}`;
  throw new CommandError(ExitCode.FAILED, 'KILL_FAILED', message, `lockstep fence evidence ${node}`);
}

/**
 * By the shell, as it was written; what it says goes to stderr. Returns its exit code, or the signal that ended it;
 * undefined where the drill was over before it, and ended it: one that goes through the host it kills may never return.
 */
async function run(command: string, signal: AbortSignal): Promise<string | undefined> {
  return await new Promise((resolve, reject) => {
    // A process group of its own, so that what the shell started ends with it.
    const child = spawn(command, { shell: true, detached: true, stdio: ['ignore', 2, 2] });
    const letGo = (): void => {
      if (child.pid !== undefined) endGroup(child.pid);
      child.unref();
      resolve(undefined);
    };
    signal.addEventListener('abort', letGo, { once: true });
    child.once('error', reject);
    child.once('close', (code, by) => {
      signal.removeEventListener('abort', letGo);
      resolve(String(code ?? by));
    });
  });
}

function endGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It ended by itself in this moment.
  }
}
