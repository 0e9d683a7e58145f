// SPDX-License-Identifier: Apache-2.0
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { LabError, messageOf } from './errors.js';
import { writeWhole } from './files.js';
import { getJson } from './http.js';
import type { HostLayout, Lab } from './layout.js';
import type { Part } from './part.js';
import { findConsul } from './tools.js';

export const consulPort = 8500;

const configurationOf = (host: HostLayout) => join(host.dir, 'consul/config.json');

function configuration(lab: Lab, host: HostLayout): object {
  return {
    server: true,
    node_name: host.name,
    bootstrap_expect: lab.hosts.length,
    data_dir: join(host.dir, 'consul/data'),
    bind_addr: host.addresses.a,
    // The second address is for people and tests outside of the host.
    client_addr: `127.0.0.1 ${host.addresses.a}`,
    retry_join: lab.hosts.map((each) => each.addresses.a),
    retry_interval: '1s',
    performance: { raft_multiplier: 1 },
    session_ttl_min: '2s',
    leave_on_terminate: false,
    disable_update_check: true,
    ports: { dns: -1 },
  };
}

/** The leader as this host's server knows it; undefined while it knows none. */
async function leaderSeenBy(host: HostLayout): Promise<string | undefined> {
  const leader = await getJson(`http://${host.addresses.a}:${consulPort}/v1/status/leader`, 2_000);
  return typeof leader === 'string' && leader !== '' ? leader : undefined;
}

/** The host whose server leads; undefined while there is none. */
export async function consulLeader(lab: Lab): Promise<HostLayout | undefined> {
  for (const host of lab.hosts) {
    const address = await leaderSeenBy(host).catch(() => undefined);
    const leader = lab.hosts.find((each) => address?.startsWith(`${each.addresses.a}:`) === true);
    if (leader !== undefined) return leader;
  }
  return undefined;
}

export const consul: Part = {
  name: 'consul',
  prepare: (lab, host) => {
    mkdirSync(join(host.dir, 'consul/data'), { recursive: true });
    writeWhole(configurationOf(host), JSON.stringify(configuration(lab, host), null, 2));
  },
  argv: (_lab, host) => {
    const binary = findConsul();
    if (binary === undefined)
      throw new LabError('there is no Consul on this machine', 'sh deploy/setup/setup.sh fetches it');
    return [binary, 'agent', '-config-file', configurationOf(host)];
  },
  readyLimitMs: 30_000,
  missing: async (_lab, host) => {
    try {
      return (await leaderSeenBy(host)) === undefined ? 'no leader elected' : undefined;
    } catch (error) {
      return `no answer (${messageOf(error)})`;
    }
  },
  graceMs: 3_000,
};
