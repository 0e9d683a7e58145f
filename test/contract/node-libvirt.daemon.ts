// SPDX-License-Identifier: Apache-2.0
// A libvirtd of the test's own: own folders, own mount and network namespace, nothing of the machine's touched.
import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { accessSync, constants, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const LIBVIRTD = '/usr/sbin/libvirtd';
const START_LIMIT_MS = 20_000;
const STOP_LIMIT_MS = 10_000;
const FOLDERS = ['run', 'lib', 'cache', 'log', 'etc'];

const CONFIGURATION = `
listen_tls = 0
listen_tcp = 0
unix_sock_rw_perms = "0700"
auth_unix_ro = "none"
auth_unix_rw = "none"
max_client_requests = 5
keepalive_interval = 5
keepalive_count = 5
`;

/** As root libvirtd only knows the system's folders: it gets its own in their place, seen by itself alone. */
const IN_OWN_NAMESPACES = `
set -e
mount --bind "$0/run" /run
mkdir -p /run/libvirt /run/lock
mount --bind "$0/lib" /var/lib/libvirt
mount --bind "$0/cache" /var/cache/libvirt
mount --bind "$0/log" /var/log/libvirt
mount --bind "$0/etc" /etc/libvirt
exec ${LIBVIRTD} -f "$0/libvirtd.conf" -p "$0/libvirtd.pid"
`;

export interface PrivateLibvirtd {
  readonly socketPath: string;
  readonly process: ChildProcess;
  signal(name: NodeJS.Signals): void;
  /** Ends the daemon and removes its folders, also if it was stopped or is dead already. */
  stop(): Promise<void>;
}

function requireLibvirtd(): void {
  try {
    accessSync(LIBVIRTD, constants.X_OK);
  } catch {
    throw new Error(
      `${LIBVIRTD} is missing, and this test is against a real libvirtd. On Debian, as root: apt-get install ` +
      '--no-install-recommends libvirt-daemon libvirt-daemon-system libvirt-clients',
    );
  }
}

export async function startLibvirtd(): Promise<PrivateLibvirtd> {
  requireLibvirtd();
  const folder = mkdtempSync(join(tmpdir(), 'lvd-'));
  for (const name of FOLDERS) mkdirSync(join(folder, name));
  writeFileSync(join(folder, 'libvirtd.conf'), `${CONFIGURATION}host_uuid = "${randomUUID()}"\n`);
  const asRoot = process.getuid?.() === 0;
  const [command, args, env] = asRoot
    ? ['unshare', ['-m', '-n', '--propagation', 'private', 'sh', '-c', IN_OWN_NAMESPACES, folder], process.env] as const
    : [LIBVIRTD, ['-f', join(folder, 'libvirtd.conf')], {
        ...process.env, XDG_RUNTIME_DIR: join(folder, 'run'), XDG_CONFIG_HOME: join(folder, 'etc'),
        XDG_CACHE_HOME: join(folder, 'cache'), XDG_DATA_HOME: join(folder, 'lib'),
      }] as const;
  const output: string[] = [];
  const daemon = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  daemon.stdout.on('data', (text: Buffer) => output.push(text.toString()));
  daemon.stderr.on('data', (text: Buffer) => output.push(text.toString()));
  const socketPath = join(folder, 'run/libvirt/libvirt-sock');

  const stop = async (): Promise<void> => {
    const limit = performance.now() + STOP_LIMIT_MS;
    daemon.kill('SIGCONT');
    daemon.kill('SIGTERM');
    while (daemon.exitCode === null && daemon.signalCode === null) {
      if (performance.now() > limit) daemon.kill('SIGKILL');
      await sleep(20);
    }
    rmSync(folder, { recursive: true, force: true });
  };

  const limit = performance.now() + START_LIMIT_MS;
  while (!(await listens(socketPath))) {
    if (daemon.exitCode !== null || performance.now() > limit) {
      await stop();
      throw new Error(`libvirtd did not start (exit ${String(daemon.exitCode)}): ${output.join('')}`);
    }
    await sleep(20);
  }
  return { socketPath, process: daemon, signal: (name) => { daemon.kill(name); }, stop };
}

/** Whether somebody answers there: the socket's file is made before anybody listens on it. */
function listens(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(path);
    const end = (answer: boolean): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.once('connect', () => {
      end(true);
    });
    socket.once('error', () => {
      end(false);
    });
  });
}
