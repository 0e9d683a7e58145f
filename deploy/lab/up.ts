// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path';
import { addContext, contextFile, removeContext } from '@lockstep/services/platform/config/context-file.js';
import { chassisPower } from './bmc-device.js';
import { bmcAfterCrash, endBmc, setBmcMode } from './bmc.js';
import { serversOf } from './configs.js';
import { hasState, readClaim, removeState, requireOwn, writeClaim } from './claim.js';
import { endCeph, ensureCeph } from './ceph.js';
import { closeDisks } from './disks.js';
import { writeWhole } from './files.js';
import { ensureImages } from './guests.js';
import { boot, isBooted, killEverything, setPower } from './host.js';
import type { HostLayout, Lab } from './layout.js';
import { exclusively } from './lock.js';
import { ensureNetwork, limit, removeNetwork } from './network.js';
import type { Part } from './part.js';
import { awaitPart, endPart, parts, partState, startPart, wantedGroups } from './parts.js';
import { ensureCephTools, requireTools } from './tools.js';
import { endWatchdog, ensureWatchdog } from './watchdog.js';

/** What the CLI calls this cluster. */
const contextNameOf = (lab: Lab) => (lab.name === 'ls' ? 'lab' : `lab-${lab.name}`);

/** Told of each step as it ends. */
export type Report = (line: string) => void;

export interface UpOptions {
  /** Without them, only what they stand on is started: Consul, libvirtd and the BMCs. */
  withServices?: boolean;
  /** With a storage cluster of one OSD, whose packages are installed where they are missing. One that is there stays without it. */
  withCeph?: boolean;
  report?: Report;
  env?: NodeJS.ProcessEnv;
}

/** Runs `step` for every host at once; every one has ended when this returns or throws. */
async function onEvery(hosts: readonly HostLayout[], step: (host: HostLayout) => Promise<void>): Promise<void> {
  const outcomes = await Promise.allSettled(hosts.map(step));
  const failed = outcomes.find((outcome) => outcome.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}

/**
 * Starts what does not run on these hosts, group by group: all of a group is started before any of it is waited for.
 * Consul needs more than one host for its quorum, and what starts at the same time is ready sooner.
 */
async function startParts(
  lab: Lab,
  hosts: readonly HostLayout[],
  withServices: boolean,
  report: Report,
): Promise<void> {
  for (const group of wantedGroups(withServices)) {
    const start = performance.now();
    const idle = new Map(group.map((part) => [part, hosts.filter((host) => partState(host, part) !== 'running')]));
    for (const part of group) await onEvery(hosts, (host) => startPart(lab, host, part));
    for (const part of group) {
      await onEvery(hosts, (host) => awaitPart(lab, host, part));
      const names = idle.get(part)?.map((host) => host.name) ?? [];
      const seconds = ((performance.now() - start) / 1000).toFixed(1);
      if (names.length > 0) report(`${part.name} ready on ${names.join(', ')} (${seconds} s)`);
    }
  }
}

/**
 * Brings the whole lab up: every host powered and booted, every cable in, every part running and ready. What is
 * there already is left as it is, so it can be repeated at any time, also after one that died half-way.
 */
export async function up(lab: Lab, options: UpOptions = {}): Promise<void> {
  const { withServices = true, report = () => undefined, env = process.env } = options;
  requireTools(env);
  if (options.withCeph === true) await ensureCephTools(lab, report, env);
  await exclusively(lab, 'up', async () => {
    requireOwn(lab);
    const claim = readClaim(lab);
    const file = claim?.contextFile ?? contextFile(env);
    const withCeph = options.withCeph ?? claim?.withCeph ?? false;
    writeClaim(lab, { checkout: lab.checkout, withServices, withCeph, contextFile: file });
    await ensureNetwork(lab);
    await onEvery(lab.hosts, (host) => limit(host, undefined));
    await ensureImages(lab);
    await onEvery(lab.hosts, async (host) => {
      setPower(host, true);
      await setBmcMode(lab, host, 'up');
      await ensureWatchdog(lab, host);
      if (isBooted(host)) return;
      await boot(lab, host);
      report(`${host.name} booted: ${host.addresses.a}, BMC at ${host.bmcAddress}`);
    });
    if (withCeph) {
      // Each host's libvirtd is told the guests' key.
      await startParts(lab, lab.hosts, false, report);
      await ensureCeph(lab);
      report('Ceph ready');
    }
    await startParts(lab, lab.hosts, withServices, report);
    addContext(contextNameOf(lab), serversOf(lab), file);
  });
}

/** Boots a host that is not running, and starts each of its parts that is not. */
export async function startHost(lab: Lab, host: HostLayout, report: Report = () => undefined): Promise<void> {
  await exclusively(lab, `start ${host.name}`, async () => {
    const withServices = readClaim(lab)?.withServices ?? false;
    if (!isBooted(host)) {
      await boot(lab, host);
      report(`${host.name} booted`);
    }
    await startParts(lab, [host], withServices, report);
  });
}

/** Longer than guests that do not listen are given on the way down. */
const ORDERLY_LIMIT_MS = 60_000;

/** As `reboot` at its console does: its service manager says so, its parts end in order, and it boots again. */
export async function rebootHost(lab: Lab, host: HostLayout): Promise<void> {
  writeWhole(join(host.dir, 'run/going-down'), 'reboot');
  for (const part of [...parts].reverse()) await endPart(host, part, ORDERLY_LIMIT_MS);
  await killEverything(host);
  await startHost(lab, host);
}

/** Takes everything of the instance off the machine, in whatever state it is. Returns whether there was anything. */
export async function down(
  lab: Lab,
  options: { force?: boolean; report?: Report; env?: NodeJS.ProcessEnv } = {},
): Promise<boolean> {
  const { force = false, report = () => undefined, env = process.env } = options;
  return exclusively(lab, 'down', async () => {
    const claim = readClaim(lab);
    if (!force) requireOwn(lab, claim);
    const wasThere = hasState(lab);
    await onEvery(lab.hosts, async (host) => {
      await onEveryPart((part) => endPart(host, part));
      await killEverything(host);
      await endBmc(host);
      await endWatchdog(host);
    });
    await endCeph(lab);
    await closeDisks(lab);
    await removeNetwork(lab);
    removeContext(contextNameOf(lab), claim?.contextFile ?? contextFile(env));
    removeState(lab);
    if (wasThere) report('everything is gone');
    return wasThere;
  });
}

async function onEveryPart(step: (part: Part) => Promise<void>): Promise<void> {
  for (const part of [...parts].reverse()) await step(part);
}

/** The host's processes die, as in a crash of its kernel. Its power stays on. */
export async function crashHost(host: HostLayout): Promise<void> {
  await killEverything(host);
  await bmcAfterCrash(host);
}

/** Presses the host's power button through its BMC. Switching on returns before the host has booted. */
export function power(host: HostLayout, on: boolean): Promise<string> {
  return chassisPower(host, on ? 'on' : 'off');
}
