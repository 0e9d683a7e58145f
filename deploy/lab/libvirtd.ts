// SPDX-License-Identifier: Apache-2.0
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { writeWhole } from './files.js';
import type { HostLayout } from './layout.js';
import type { Part } from './part.js';
import { attempt, run, type Outcome } from './shell.js';

export const machineType = 'pc-i440fx-7.2';

/** Guests run as root and without cgroups: here a host is a namespace, and all hosts share the machine's. */
function qemuConfiguration(host: HostLayout): string {
  return [
    'user = "root"',
    'group = "root"',
    'dynamic_ownership = 0',
    'remember_owner = 0',
    'security_driver = "none"',
    'cgroup_controllers = [ ]',
    'namespaces = [ ]',
    'stdio_handler = "file"',
    'migration_address = "0.0.0.0"',
    `migration_host = "${host.addresses.a}"`,
    'migration_port_min = 49152',
    'migration_port_max = 49215',
    'max_processes = 0',
    'seccomp_sandbox = 0',
    '',
  ].join('\n');
}

/** A `host_uuid` of its own: libvirt refuses to migrate to "the same host", and would take the machine's. */
function daemonConfiguration(host: HostLayout): string {
  return [
    'listen_tls = 0',
    'listen_tcp = 0',
    'unix_sock_group = "root"',
    'unix_sock_rw_perms = "0700"',
    'auth_unix_ro = "none"',
    'auth_unix_rw = "none"',
    `host_uuid = "${host.uuid}"`,
    'max_clients = 200',
    'max_workers = 40',
    'max_client_requests = 5',
    'keepalive_interval = 5',
    'keepalive_count = 5',
    'log_outputs = "2:file:/var/log/libvirt/libvirtd.log"',
    '',
  ].join('\n');
}

export const libvirtUri = (host: HostLayout) => `qemu+unix:///system?socket=${host.libvirtSocket}`;

/** Runs `virsh` against the host's libvirtd; never throws. */
export function attemptVirsh(host: HostLayout, args: readonly string[], timeoutMs = 30_000): Promise<Outcome> {
  return attempt('virsh', ['--quiet', '--connect', libvirtUri(host), ...args], { timeoutMs });
}

/** Runs `virsh` against the host's libvirtd and returns what it printed. */
export function virsh(host: HostLayout, args: readonly string[], timeoutMs = 30_000): Promise<string> {
  return run('virsh', ['--quiet', '--connect', libvirtUri(host), ...args], { timeoutMs });
}

export const libvirtd: Part = {
  name: 'libvirtd',
  prepare: (_lab, host) => {
    mkdirSync(join(host.dir, 'libvirt/etc'), { recursive: true });
    writeWhole(join(host.dir, 'libvirt/etc/qemu.conf'), qemuConfiguration(host));
    writeWhole(join(host.dir, 'libvirt/etc/libvirtd.conf'), daemonConfiguration(host));
  },
  argv: () => ['/usr/sbin/libvirtd', '--config', '/etc/libvirt/libvirtd.conf'],
  readyLimitMs: 60_000,
  // The answer needs QEMU to be asked for what it can do, which takes seconds the first time: here and not in a move.
  missing: async (_lab, host) => {
    const { code, stderr } = await attemptVirsh(
      host,
      ['domcapabilities', '--virttype', 'qemu', '--machine', machineType],
      20_000,
    );
    return code === 0 ? undefined : stderr.trim();
  },
  graceMs: 5_000,
};
