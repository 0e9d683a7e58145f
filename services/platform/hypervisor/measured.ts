// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../clock/clock.js';
import type { Metrics } from '../metrics/metrics.js';
import { timed, type CallObserver } from '../metrics/timed.js';
import { HypervisorError, type Hypervisor, type HypervisorErrorKind, type IncomingMigration, type OutgoingMigration } from './hypervisor.js';

const CALLS = [
  'info', 'list', 'find', 'usage', 'xml', 'define', 'stampEpoch', 'disableAutostart', 'start', 'shutdown', 'reboot', 'reset',
  'destroy', 'resume', 'undefine', 'checkFit', 'memoryUse', 'openOutgoing', 'openIncoming',
] as const satisfies readonly (keyof Hypervisor)[];

/** Perform is left out: it lasts as long as the guest has memory, and is measured as a step of its migration. */
const OUTGOING_CALLS = [
  'begin', 'progress', 'setMaxDowntime', 'setBandwidth', 'startPostCopy', 'pause', 'abort', 'confirm', 'cancel',
] as const satisfies readonly (keyof OutgoingMigration)[];

const INCOMING_CALLS = ['prepare', 'finish', 'cancel'] as const satisfies readonly (keyof IncomingMigration)[];

const OUTCOMES: Readonly<Record<HypervisorErrorKind, true>> = {
  down: true,
  deadline: true,
  gone: true,
  refused: true,
  'no-job': true,
  aborted: true,
  failed: true,
  invalid: true,
  locked: true,
};

/** The same hypervisor, with the time that each of its calls takes counted by call and outcome. */
export function measuredHypervisor(hypervisor: Hypervisor, metrics: Metrics, clock: Clock): Hypervisor {
  const seconds = metrics.histogram({
    name: 'lockstep_hypervisor_call_seconds',
    help: 'How long calls to the hypervisor take, from sending to the answer.',
    labels: {
      call: [...new Set([...CALLS, ...OUTGOING_CALLS, ...INCOMING_CALLS])],
      outcome: ['ok', ...Object.keys(OUTCOMES), 'cancelled'],
    },
  });
  const nowMs = (): number => clock.nowMs();
  const observe: CallObserver = (call, tookMs, error) => {
    seconds.observe({ call, outcome: outcomeOf(error) }, tookMs / 1_000);
  };
  const outgoing = (migration: OutgoingMigration) => timed(migration, { calls: OUTGOING_CALLS, nowMs, observe });
  const incoming = (migration: IncomingMigration) => timed(migration, { calls: INCOMING_CALLS, nowMs, observe });
  const opened = timed(hypervisor, { calls: CALLS, nowMs, observe });
  return new Proxy(opened, {
    get: (target, name): unknown => {
      if (name === 'openOutgoing') {
        return async (...input: Parameters<Hypervisor['openOutgoing']>) => outgoing(await target.openOutgoing(...input));
      }
      if (name === 'openIncoming') {
        return async (...input: Parameters<Hypervisor['openIncoming']>) => incoming(await target.openIncoming(...input));
      }
      return Reflect.get(target, name, target);
    },
  });
}

function outcomeOf(error: unknown): string {
  if (error === undefined) return 'ok';
  return error instanceof HypervisorError ? error.kind : 'cancelled';
}
