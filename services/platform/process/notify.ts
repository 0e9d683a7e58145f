// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { sleep, type Clock } from '../clock/clock.js';
import type { Logger } from '../log/log.js';

/** Tells the service manager how this process is. Does nothing where none asked for it. */
export interface Notifier {
  /** It can be called. */
  ready(): void;
  /** A step of its work succeeded. Passed on often enough for the watchdog, and no oftener. */
  alive(): void;
  /** Resolves once that was told, as the process may end right after. */
  stopping(): Promise<void>;
  /** Within this time a step must succeed, or the process is ended; undefined: nobody watches. */
  readonly watchdogMs: number | undefined;
}

/** Sends an assignment of sd_notify(3); resolves when it was taken. */
export type Send = (assignment: string) => Promise<void>;

/** Told three times within the watchdog's limit, so that one lost word does not end a process that is well. */
const TOLD_PER_LIMIT = 3;
const SEND_LIMIT_MS = 5_000;

export function createNotifier(
  parts: { clock: Clock; log: Logger; pid: number; send?: Send },
  environment: Readonly<Record<string, string | undefined>>,
): Notifier {
  const { clock, log, pid, send = systemdNotify } = parts;
  if ((environment['NOTIFY_SOCKET'] ?? '') === '') {
    return { ready: () => undefined, alive: () => undefined, stopping: () => Promise.resolve(), watchdogMs: undefined };
  }
  const tell = async (assignment: string): Promise<void> => {
    try {
      await send(assignment);
    } catch (error) {
      log.warn('the service manager cannot be told', { assignment, error });
    }
  };
  const watchdogMs = watchdogOf(environment, pid);
  let toldAtMs: number | undefined;
  let telling = false;
  return {
    watchdogMs,
    ready: () => {
      void tell('READY=1');
    },
    alive: () => {
      const nowMs = clock.nowMs();
      if (watchdogMs === undefined || telling) return;
      if (toldAtMs !== undefined && nowMs - toldAtMs < watchdogMs / TOLD_PER_LIMIT / 2) return;
      toldAtMs = nowMs;
      telling = true;
      void tell('WATCHDOG=1').finally(() => {
        telling = false;
      });
    },
    stopping: () => tell('STOPPING=1'),
  };
}

function watchdogOf(environment: Readonly<Record<string, string | undefined>>, pid: number): number | undefined {
  const watchdogUs = Number(environment['WATCHDOG_USEC']);
  if (!Number.isFinite(watchdogUs) || watchdogUs <= 0) return undefined;
  const whose = environment['WATCHDOG_PID'] ?? '';
  return whose === '' || whose === String(pid) ? watchdogUs / 1_000 : undefined;
}

/** Node cannot speak to datagram sockets of the file system; systemd brings a command that can. */
function systemdNotify(assignment: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn('systemd-notify', [assignment], { stdio: 'ignore', timeout: SEND_LIMIT_MS });
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      if (code === 0) resolve();
      else reject(new Error(`systemd-notify ended with ${String(code ?? signal)}`));
    });
  });
}

/** What {@link keepAlive} goes by. */
export interface StepLoop {
  clock: Clock;
  log: Logger;
  notifier: Pick<Notifier, 'alive' | 'watchdogMs'>;
  /** Why the service does not live as it should; empty where it does. */
  notLive: () => string;
  stopped: AbortSignal;
}

/** Looks at the service several times within the watchdog's limit, and says it lives only where it does. */
export async function keepAlive({ clock, log, notifier, notLive, stopped }: StepLoop): Promise<void> {
  if (notifier.watchdogMs === undefined) return;
  const everyMs = notifier.watchdogMs / TOLD_PER_LIMIT;
  let before = '';
  while (!stopped.aborted) {
    const trouble = notLive();
    if (trouble === '') notifier.alive();
    else if (trouble !== before) log.error('the watchdog is not fed', { why: trouble });
    before = trouble;
    await sleep(clock, everyMs, stopped).catch(() => undefined);
  }
}
