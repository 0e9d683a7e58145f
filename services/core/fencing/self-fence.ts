// SPDX-License-Identifier: Apache-2.0

/** When a node that loses its lease fences itself. Milliseconds since the last renewal that succeeded. */
export interface SelfFenceTimes {
  /** The agent's lease counts as lost. */
  leaseGiveUpMs: number;
  /** It feeds its watchdog no more, or stops its VMs. */
  afterMs: number;
  /** How long the watchdog then takes. */
  watchdogMs: number;
}

/** Clocks of two hosts may run apart, and a tick may come late: expiry is proof only with a fifth of the time on top. */
const MARGIN = 1.2;

/**
 * How long after an observer saw the session gone an armed watchdog has reset the host for certain: the session cannot
 * go before the last renewal that succeeded.
 */
export function proofByExpiryMs({ afterMs, watchdogMs }: Pick<SelfFenceTimes, 'afterMs' | 'watchdogMs'>): number {
  return Math.ceil((afterMs + watchdogMs) * MARGIN);
}

const inSeconds = (ms: number): string => `${String(ms / 1_000)} s`;

/** What is wrong with the times, with the arithmetic; undefined: they are right. */
export function wrongTimes({ leaseGiveUpMs, afterMs, watchdogMs }: SelfFenceTimes): string | undefined {
  if (afterMs <= leaseGiveUpMs) {
    return `the lease counts as lost ${inSeconds(leaseGiveUpMs)} after its last renewal, so the self-fence must come later than that, and it comes after ${inSeconds(afterMs)}`;
  }
  if (watchdogMs < 1_000) return `the watchdog must take at least 1 s, and it takes ${inSeconds(watchdogMs)}`;
  return undefined;
}

/** The times in one line, e.g. for the log at the start. */
export function timesInWords({ leaseGiveUpMs, afterMs, watchdogMs }: SelfFenceTimes): string {
  const expiryMs = proofByExpiryMs({ afterMs, watchdogMs });
  return `lease lost after ${inSeconds(leaseGiveUpMs)} < self-fence after ${inSeconds(afterMs)} < proof by expiry (${inSeconds(afterMs)} + ${inSeconds(watchdogMs)}) × ${String(MARGIN)} = ${inSeconds(expiryMs)}`;
}
