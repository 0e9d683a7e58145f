// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path';
import { expect } from 'vitest';
import {
  attempt,
  awaitPart,
  hostNamed,
  killPart as killPartOn,
  layout,
  partNamed,
  serversOf,
  startPart,
  until,
  up,
  type Outcome,
} from '../../deploy/lab/api.js';

/**
 * The lab that the tests of the running mesh share: the first that needs it brings it up, the run's end takes it down.
 * LOCKSTEP_TEST_MESH names a lab of one's own instead, which stays; LOCKSTEP_TEST_RUN that of a run beside another one.
 */
const { LOCKSTEP_TEST_MESH: own, LOCKSTEP_TEST_RUN: ofRun = 'lt8' } = process.env;
export const lab = layout({ ...process.env, LOCKSTEP_LAB: own ?? ofRun });
export const staysUp = own !== undefined;
export const meshEnv = { ...process.env, XDG_CONFIG_HOME: join(lab.stateDir, 'context') };
export const servers = serversOf(lab);

const cli = join(lab.checkout, 'clients/cli/dist/main.js');
const UP_LIMIT_MS = 60_000;

/** Brings the mesh up, also after a test that left parts of it dead, and waits until every node is ready. */
export async function meshUp(): Promise<void> {
  await up(lab, { env: meshEnv });
  await until('all nodes are ready', UP_LIMIT_MS, async () => {
    const { code, stdout, stderr } = await lockstep('node', 'list', '-o', 'json');
    if (code !== 0) return stderr.trim();
    const nodes = JSON.parse(stdout) as { name: string; ready?: boolean; notReadyReason?: string }[];
    if (nodes.length < lab.hosts.length) return `${nodes.length} nodes have joined`;
    const unready = nodes.filter(({ ready }) => ready !== true);
    return unready.length === 0 ? undefined : unready.map((each) => `${each.name}: ${each.notReadyReason}`).join('; ');
  });
}

/** Runs the CLI as a process of its own, as a person would. */
export const lockstep = (...args: string[]): Promise<Outcome> => lockstepAt(servers, ...args);

export function lockstepAt(addresses: readonly string[], ...args: string[]): Promise<Outcome> {
  const env = { ...meshEnv, LOCKSTEP_SERVER: addresses.join(), NO_COLOR: '1' };
  return attempt(process.execPath, [cli, ...args], { env, timeoutMs: 240_000 });
}

/** The same where nothing but success will do; what it printed on stdout. */
export async function ok(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await lockstep(...args);
  expect(code, `lockstep ${args.join(' ')}: ${stderr}`).toBe(0);
  return stdout;
}

/** What `-o json` says, in proto3's JSON. */
export async function shown<T>(...args: string[]): Promise<T> {
  return JSON.parse(await ok(...args, '-o', 'json')) as T;
}

export interface ShownMigration {
  id: string;
  state: string;
  reason?: string;
  detail?: string;
  sourceNode: string;
  targetNode: string;
  placementEpoch?: string;
  progress?: { memorySentBytes?: string };
  phases: { step: string; side?: string; ok?: boolean; duration?: string; startTime: string; endTime: string }[];
  outcome?: { downtime?: string; gap?: string; total?: string };
}

export const migrationOf = (id: string): Promise<ShownMigration> => shown<ShownMigration>('migration', 'show', id);

/** Kills a part of a host, and returns once it is dead. */
export const killPart = (host: string, name: string): Promise<void> => killPartOn(hostNamed(lab, host), name);

/** Starts a part that was killed, and returns once it does its work. */
export async function startPartAgain(host: string, name: string): Promise<void> {
  const [on, part] = [hostNamed(lab, host), partNamed(name)];
  await startPart(lab, on, part);
  await awaitPart(lab, on, part);
}
