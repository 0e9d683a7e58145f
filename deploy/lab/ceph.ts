// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import {
  cephConfigFile,
  cephDir,
  cephPool,
  guestUser,
  keyOf,
  monitorVector,
  writeClusterFiles,
  writeHostFiles,
} from './ceph-files.js';
import { LabError } from './errors.js';
import { readIfThere, writeWhole } from './files.js';
import { uuidOf, type HostLayout, type Lab } from './layout.js';
import { virsh } from './libvirtd.js';
import { attempt, run, until, type Outcome } from './shell.js';
import { end, launch, readRecord, signal, stateOf, type ProcessState } from './supervise.js';

/** The daemons of the storage cluster: a monitor, one OSD with its data in memory, and a manager. */
export const cephDaemons = ['mon', 'osd', 'mgr'] as const;
export type CephDaemon = (typeof cephDaemons)[number];

const idOf: Record<CephDaemon, string> = { mon: 'a', osd: '0', mgr: 'a' };
const COMMAND_LIMIT_MS = 30_000;
const READY_LIMIT_MS = 120_000;
const DAEMON_GRACE_MS = 2_000;

const pidFileOf = (lab: Lab, daemon: CephDaemon) => join(cephDir(lab), 'pids', daemon);
/** Written last: what lies beside it is a whole cluster. */
const madeFile = (lab: Lab) => join(cephDir(lab), 'made');

export const cephState = (lab: Lab, daemon: CephDaemon): ProcessState => stateOf(readRecord(pidFileOf(lab, daemon)));

/** Runs one of Ceph's programs as the cluster's administrator; never throws. */
export function attemptCeph(lab: Lab, argv: readonly string[], timeoutMs = COMMAND_LIMIT_MS): Promise<Outcome> {
  const [program = '', ...args] = argv;
  return attempt(program, ['--conf', cephConfigFile(lab), ...args], { timeoutMs });
}

/** Runs one of Ceph's programs as the cluster's administrator, and returns what it printed. */
export async function ceph(lab: Lab, argv: readonly string[], timeoutMs = COMMAND_LIMIT_MS): Promise<string> {
  const { code, stdout, stderr } = await attemptCeph(lab, argv, timeoutMs);
  if (code !== 0) throw new LabError(`${argv.join(' ')} failed: ${stderr.trim()}`);
  return stdout;
}

/** Brings the storage cluster up, whatever is there of it, and gives every host its access. Its libvirtd must run. */
export async function ensureCeph(lab: Lab): Promise<void> {
  // Data is in the OSD's memory: without it nothing of the cluster is worth keeping. So with one that is half made.
  if (!existsSync(madeFile(lab)) || cephState(lab, 'osd') === 'dead') await make(lab);
  for (const daemon of cephDaemons) {
    const state = cephState(lab, daemon);
    if (state === 'stopped') signalCeph(lab, daemon, 'SIGCONT');
    if (state === 'dead') await start(lab, daemon);
  }
  await awaitHealth(lab);
  for (const host of lab.hosts) await giveAccess(lab, host);
}

/** Ends the storage cluster, in whatever state it is. Its files go with the lab's. */
export async function endCeph(lab: Lab): Promise<void> {
  for (const daemon of [...cephDaemons].reverse()) await end(readRecord(pidFileOf(lab, daemon)), DAEMON_GRACE_MS);
}

/** Stops a daemon wherever it is in its work, lets it go on, or kills it. */
export function signalCeph(lab: Lab, daemon: CephDaemon, kind: 'SIGSTOP' | 'SIGCONT' | 'SIGKILL'): void {
  if (!signal(readRecord(pidFileOf(lab, daemon)), kind)) throw new LabError(`Ceph's ${daemon} does not run`);
}

async function make(lab: Lab): Promise<void> {
  await endCeph(lab);
  const dir = cephDir(lab);
  rmSync(dir, { recursive: true, force: true });
  for (const folder of ['run', 'log', 'crash', 'mon', 'osd', 'mgr']) mkdirSync(join(dir, folder), { recursive: true });
  const [fsid, osd] = [randomUUID(), randomUUID()];
  writeClusterFiles(lab, fsid);
  const monmap = join(dir, 'monmap');
  await run('monmaptool', ['--create', '--clobber', '--fsid', fsid, '--addv', idOf.mon, monitorVector(lab), monmap]);
  const keyring = join(dir, 'keyring');
  await ceph(lab, ['ceph-mon', '--mkfs', '--id', idOf.mon, '--monmap', monmap, '--keyring', keyring]);
  await start(lab, 'mon');
  await until("Ceph's monitor", READY_LIMIT_MS, async () => {
    const { code, stderr } = await attemptCeph(lab, ['ceph', '--connect-timeout', '10', 'osd', 'create', osd, idOf.osd]);
    return code === 0 ? undefined : stderr.trim();
  });
  await ceph(lab, ['ceph-osd', '--mkfs', '--id', idOf.osd, '--osd-uuid', osd]);
  await start(lab, 'osd');
  await start(lab, 'mgr');
  await ceph(lab, ['ceph', 'osd', 'pool', 'create', cephPool, '8']);
  // Returns when the pool takes writes.
  await ceph(lab, ['rbd', 'pool', 'init', cephPool], READY_LIMIT_MS);
  writeWhole(madeFile(lab), fsid);
}

async function start(lab: Lab, daemon: CephDaemon): Promise<void> {
  await launch({
    argv: [`ceph-${daemon}`, '--foreground', '--conf', cephConfigFile(lab), '--id', idOf[daemon]],
    pidFile: pidFileOf(lab, daemon),
    logFile: join(cephDir(lab), 'log', `${daemon}.out`),
  });
}

async function awaitHealth(lab: Lab): Promise<void> {
  await until('the storage cluster', READY_LIMIT_MS, async () => {
    const dead = cephDaemons.filter((daemon) => cephState(lab, daemon) === 'dead');
    if (dead.length > 0) {
      const words = dead.map((daemon) => readIfThere(join(cephDir(lab), 'log', `${daemon}.out`))?.trim().slice(-500) ?? '');
      throw new LabError(`Ceph's ${dead.join(', ')} ended: ${words.join('\n')}`);
    }
    const { code, stdout, stderr } = await attemptCeph(lab, ['ceph', '--connect-timeout', '10', 'health']);
    if (code !== 0) return stderr.trim();
    return stdout.startsWith('HEALTH_OK') ? undefined : stdout.trim();
  });
}

/** The libvirt secret of this instance's guests: the same on every host, as a guest's definition names it. */
export const cephSecretOf = (lab: Lab) => uuidOf(`${lab.name} ceph`);

/** The agent's keyring, and the guests' key as libvirt keeps it: both outlive the host's next boot. */
async function giveAccess(lab: Lab, host: HostLayout): Promise<void> {
  writeHostFiles(lab, host);
  const [definition, key] = [join(host.dir, 'ceph/secret.xml'), join(host.dir, 'ceph/guest-key')];
  const uuid = cephSecretOf(lab);
  writeWhole(
    definition,
    `<secret ephemeral='no' private='yes'>
  <uuid>${uuid}</uuid>
  <usage type='ceph'><name>client.${guestUser}</name></usage>
</secret>
`,
  );
  await virsh(host, ['secret-define', definition]);
  // From a file: on a command line everybody could read it.
  writeWhole(key, keyOf(lab, guestUser));
  await virsh(host, ['secret-set-value', '--secret', uuid, '--file', key]);
  rmSync(key);
}
