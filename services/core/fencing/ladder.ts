// SPDX-License-Identifier: Apache-2.0

/** What can be tried on a dead node, beside an operator's word, which is taken at any time. */
export const RUNGS = ['stop-vms', 'power', 'watchdog'] as const;
export type RungKind = (typeof RUNGS)[number];

/** One node's ladder as it is configured. */
export interface LadderSettings {
  /** In order; `power` stands for all its devices, one after another. */
  rungs: readonly RungKind[];
  /** Whether a node that was proven off is switched on again. */
  powerOn: boolean;
}

export const LADDER: LadderSettings = { rungs: RUNGS, powerOn: false };

/** One step of a ladder; `device` counts from 0. */
export type Rung = { kind: 'stop-vms' } | { kind: 'power'; device: number } | { kind: 'watchdog' };

/** The steps for a node with so many devices. */
export function planOf({ rungs }: LadderSettings, devices: number): Rung[] {
  return rungs.flatMap((kind): Rung[] =>
    kind === 'power' ? Array.from({ length: devices }, (_, device) => ({ kind, device })) : [{ kind }],
  );
}

/** The words of the journal. Deeds are written down before they are done; the rest when it is known. */
export const ATTEMPTS = {
  readPower: 'read-power',
  stopVms: 'stop-vms',
  powerOff: 'power-off',
  readBack: 'read-back',
  watchdog: 'watchdog',
  operator: 'operator',
  powerOn: 'power-on',
  // Of tests alone.
  checkBmc: 'check-bmc',
  silence: 'silence',
  comeBack: 'come-back',
} as const;

/** Attempts after which a host may be off or on though nobody read it back. */
export function isPowerDeed(rung: string): boolean {
  return rung === ATTEMPTS.powerOff || rung === ATTEMPTS.powerOn;
}
