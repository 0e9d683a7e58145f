// SPDX-License-Identifier: Apache-2.0
import { existsSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { LabError } from './errors.js';
import { readIfThere, removeIfEmpty, writeWhole } from './files.js';
import { isBooted } from './host.js';
import type { Lab } from './layout.js';

/** What an instance that is up keeps about itself. */
export interface Claim {
  checkout: string;
  withServices: boolean;
  /** With a storage cluster. */
  withCeph: boolean;
  /** The CLI's context file that knows of it. */
  contextFile: string;
}

const fileOf = (lab: Lab) => join(lab.stateDir, 'lab.json');
const discarded = (lab: Lab) => `${lab.stateDir}.gone`;

export function readClaim(lab: Lab): Claim | undefined {
  const text = readIfThere(fileOf(lab));
  return text === undefined ? undefined : (JSON.parse(text) as Claim);
}

/** Throws if the instance belongs to another checkout and something of it runs; names the checkout. */
export function requireOwn(lab: Lab, claim = readClaim(lab)): void {
  if (claim === undefined || claim.checkout === lab.checkout || !lab.hosts.some(isBooted)) return;
  throw new LabError(
    `lab ${lab.name} was started by the checkout at ${claim.checkout}`,
    'take it down there, or choose another instance: LOCKSTEP_LAB=ls2',
  );
}

export function requireUp(lab: Lab): Claim {
  const claim = readClaim(lab);
  if (claim === undefined) throw new LabError(`lab ${lab.name} is not up`, 'npm run lab -- up');
  return claim;
}

export function writeClaim(lab: Lab, claim: Claim): void {
  writeWhole(fileOf(lab), JSON.stringify(claim));
}

/** Removes every file of the instance. In two steps: dying between them leaves a folder that the next one removes. */
export function removeState(lab: Lab): void {
  rmSync(discarded(lab), { recursive: true, force: true });
  if (existsSync(lab.stateDir)) renameSync(lab.stateDir, discarded(lab));
  rmSync(discarded(lab), { recursive: true, force: true });
  removeIfEmpty(dirname(lab.stateDir));
}

/** Whether any file of the instance is there. */
export function hasState(lab: Lab): boolean {
  const base = dirname(lab.stateDir);
  return existsSync(base) && readdirSync(base).some((name) => name === lab.name || join(base, name) === discarded(lab));
}
