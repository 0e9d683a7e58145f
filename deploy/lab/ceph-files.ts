// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { readIfThere, writeWhole } from './files.js';
import type { HostLayout, Lab } from './layout.js';

/** The one pool, for guests' disks. */
export const cephPool = 'vms';
/** Whom QEMU speaks as. */
export const guestUser = 'guest';
/** Whom the agents speak as. */
export const agentUser = 'lockstep';

/** Everything of the storage cluster. It is outside of the hosts: no host's death takes it along. */
export const cephDir = (lab: Lab) => join(lab.stateDir, 'ceph');
export const cephConfigFile = (lab: Lab) => join(cephDir(lab), 'ceph.conf');
const keyringFile = (lab: Lab) => join(cephDir(lab), 'keyring');
/** What a host's agent is told to read; a host without the file has no Ceph. */
export const hostCephConfigFile = (host: HostLayout) => join(host.dir, 'ceph/ceph.conf');
const hostKeyringFile = (host: HostLayout) => join(host.dir, 'ceph/keyring');

export const monitorAddress = (lab: Lab) => lab.networks.a.gateway;
export const monitorPort = 3300;
export const monitorVector = (lab: Lab) => `[v2:${monitorAddress(lab)}:${monitorPort},v1:${monitorAddress(lab)}:6789]`;

/** What each may do, as the installation guides of Ceph and of this project say for clients. */
const users: Record<string, Record<string, string>> = {
  'mon.': { mon: 'allow *' },
  'client.admin': { mon: 'allow *', osd: 'allow *', mgr: 'allow *', mds: 'allow *' },
  'osd.0': { mon: 'allow profile osd', osd: 'allow *', mgr: 'allow profile osd' },
  'mgr.a': { mon: 'allow profile mgr', osd: 'allow *', mds: 'allow *' },
  [`client.${guestUser}`]: { mon: 'profile rbd', osd: `profile rbd pool=${cephPool}` },
  [`client.${agentUser}`]: { mon: 'profile rbd', osd: `profile rbd pool=${cephPool}`, mgr: `profile rbd pool=${cephPool}` },
};

/** A secret in Ceph's own form: its kind, when it was made, its length, and sixteen bytes. */
function newKey(): string {
  const head = Buffer.alloc(12);
  head.writeUInt16LE(1, 0);
  head.writeUInt32LE(Math.floor(Date.now() / 1_000), 2);
  head.writeUInt16LE(16, 10);
  return Buffer.concat([head, randomBytes(16)]).toString('base64');
}

/** The key of a user, as it was made with the cluster. */
export function keyOf(lab: Lab, user: string): string {
  const section = readIfThere(keyringFile(lab))?.split(`[client.${user}]\n`)[1];
  const key = /^\s*key = (\S+)$/m.exec(section ?? '')?.[1];
  if (key === undefined) throw new Error(`the storage cluster has no user ${user}`);
  return key;
}

const common = (lab: Lab, fsid: string): string[] => [
  '[global]',
  `fsid = ${fsid}`,
  `mon_host = ${monitorVector(lab)}`,
  'auth_allow_insecure_global_id_reclaim = false',
];

/** Everything that Ceph's daemons read. Data is in memory: it is for tests, and quick. */
export function writeClusterFiles(lab: Lab, fsid: string): void {
  const dir = cephDir(lab);
  const sections = Object.entries(users).map(([name, caps]) =>
    [`[${name}]`, `key = ${newKey()}`, ...Object.entries(caps).map(([service, cap]) => `caps ${service} = "${cap}"`), ''].join('\n'),
  );
  writeWhole(keyringFile(lab), sections.join('\n'));
  const lines = [
    ...common(lab, fsid),
    `keyring = ${keyringFile(lab)}`,
    `run_dir = ${dir}/run`,
    `admin_socket = ${dir}/run/$name.asok`,
    `pid_file =`,
    `log_file = ${dir}/log/$name.log`,
    `mon_cluster_log_file = ${dir}/log/cluster.log`,
    `crash_dir = ${dir}/crash`,
    `mon_data = ${dir}/mon`,
    `osd_data = ${dir}/osd`,
    `mgr_data = ${dir}/mgr`,
    `public_addr = ${monitorAddress(lab)}`,
    'ms_bind_ipv6 = false',
    'osd_objectstore = memstore',
    `memstore_device_bytes = ${1024 ** 3}`,
    'osd_pool_default_size = 1',
    'osd_pool_default_min_size = 1',
    'osd_pool_default_pg_autoscale_mode = off',
    'osd_crush_chooseleaf_type = 0',
    'mon_allow_pool_size_one = true',
    'mon_warn_on_pool_no_redundancy = false',
    'mon_warn_on_insecure_global_id_reclaim = false',
    'mon_warn_on_insecure_global_id_reclaim_allowed = false',
    // The machine's disk is shared with everything else, and nothing of this is kept.
    'mon_data_avail_warn = 1',
    'mon_data_avail_crit = 0',
    // An only OSD has no peers to say that it is silent: the monitor finds it out, here within seconds.
    'osd_beacon_report_interval = 3',
    'mon_osd_report_timeout = 20',
    'mon_osd_min_up_ratio = 0',
    'mon_osd_down_out_interval = 86400',
    'mgr_stats_period = 2',
    '',
  ];
  writeWhole(cephConfigFile(lab), lines.join('\n'));
}

/** What the host's agent needs to ask the cluster, and no more. */
export function writeHostFiles(lab: Lab, host: HostLayout): void {
  const fsid = /^fsid = (\S+)$/m.exec(readIfThere(cephConfigFile(lab)) ?? '')?.[1] ?? '';
  writeWhole(hostKeyringFile(host), `[client.${agentUser}]\nkey = ${keyOf(lab, agentUser)}\n`);
  const lines = [...common(lab, fsid), '[client]', `keyring = ${hostKeyringFile(host)}`, ''];
  writeWhole(hostCephConfigFile(host), lines.join('\n'));
}
