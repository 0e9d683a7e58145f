// SPDX-License-Identifier: Apache-2.0
import { setTimeout as sleep } from 'node:timers/promises';
import type { Lockstep } from '@lockstep/sdk';
import { DrainState, type Drain } from '@lockstep/sdk/v1';
import { attached } from './attached.js';
import { CommandError, ExitCode } from './exit.js';
import { printable } from './output/style.js';
import { drainState } from './output/views/drain.js';
import { present } from './present.js';
import type { Terminal } from './terminal.js';

const LOOK_EVERY_MS = 500;
const ENDS: readonly DrainState[] = [DrainState.DRAINED, DrainState.CANCELLED, DrainState.FAILED];

/** Waits for a drain's end and shows every change on stderr; throws where it ended otherwise than drained. */
export async function waitForDrain(cluster: Lockstep, terminal: Terminal, id: string, timeoutMs: number): Promise<Drain> {
  const limits = { timeoutMs, goesOn: 'the drain goes on', next: `lockstep drain show ${id}` };
  let shown = '';
  const ended = await attached(terminal, limits, async (signal) => {
    for (;;) {
      const drain = present((await cluster.scheduler.getDrain({ id }, { signal })).drain, 'drain');
      const blocked = drain.blockers.map(({ vmId, reason }) => `${vmId} ${reason}`).join(', ');
      const line = printable([drain.node, drainState(drain), drain.detail, blocked].filter((part) => part !== '').join('  '));
      if (line !== shown) terminal.err(`${line}\n`);
      shown = line;
      if (ENDS.includes(drain.state)) return drain;
      await sleep(LOOK_EVERY_MS, undefined, { signal });
    }
  });
  if (ended.state === DrainState.DRAINED) return ended;
  const message = `the drain of ${ended.node} ended ${drainState(ended)}: ${ended.detail}`;
  throw new CommandError(ExitCode.FAILED, ended.reason === '' ? 'DRAIN_ENDED' : ended.reason, message, `lockstep drain show ${id}`);
}
