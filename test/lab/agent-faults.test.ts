// SPDX-License-Identifier: Apache-2.0
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect } from '@lockstep/sdk';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { attempt, attemptVirsh, credentialsOf, guestXml, hostNamed, inside, ports, signalPart, until, virsh } from '../../deploy/lab/api.js';
import { removeGuests, startGuest, withXmlFile, type TestGuest } from './guest.js';
import { killPart, lab, lockstep, meshUp, ok, servers, shown, startPartAgain } from './mesh.js';
import { startService, type ServiceProcess } from './service-process.js';

const LIMIT_MS = 120_000;
const CONSUL_AWAY_MS = 20_000;
/** Heartbeats come every second. */
const HEARTBEATS = 10;
/** Far below what any of the faults would hold a heartbeat up for, far above what a busy machine does. */
const LATEST_MS = 5_000;

const h1 = hostNamed(lab, 'h1');
const mesh = connect({ servers });
const folder = join(lab.stateDir, 'agent-faults');
const hangs = join(folder, 'hangs');

interface ShownNode {
  node: {
    ready?: boolean;
    notReadyReason?: string;
    figures?: { ages?: { collector: string; age?: string; failure?: string }[] };
    conditions?: { type: string; detail: string }[];
    ceph?: { health: string };
  };
}

let agent: ServiceProcess;

/** A `ceph` of the PATH that answers, or sleeps while a file says so. */
function writePlayedCeph(): void {
  mkdirSync(folder, { recursive: true });
  const dump = JSON.stringify({ osds: [{ osd: 0, up: 1, in: 1 }] });
  const status = JSON.stringify({ health: { status: 'HEALTH_OK', checks: {} }, pgmap: { bytes_used: 1, bytes_total: 2 } });
  const script = `#!/bin/sh\n[ -e ${hangs} ] && sleep 300\ncase "$*" in *'osd dump'*) echo '${dump}' ;; *) echo '${status}' ;; esac\n`;
  writeFileSync(join(folder, 'ceph'), script);
  chmodSync(join(folder, 'ceph'), 0o755);
  writeFileSync(join(folder, 'ceph.conf'), '');
}

/** h1's agent with that `ceph` first on its PATH, and every debug line. */
async function startAgent(): Promise<ServiceProcess> {
  const config = parse(readFileSync(join(h1.dir, 'lockstep/node-agent.yaml'), 'utf8')) as object;
  const path = `PATH=${folder}:${process.env['PATH'] ?? ''}`;
  return await startService('node-agent', {
    before: [...inside(h1), 'env', path],
    config: () => ({ ...config, ceph_config_file: join(folder, 'ceph.conf'), log: { debug: true } }),
  });
}

beforeAll(async () => {
  await meshUp();
  writePlayedCeph();
  await killPart('h1', 'node-agent');
  agent = await startAgent();
  await h1IsReady();
});
afterEach(removeGuests);
afterAll(async () => {
  mesh.close();
  await agent.end();
  rmSync(folder, { recursive: true, force: true });
  await startPartAgain('h1', 'node-agent');
});

/** The nodes are ready; without starting h1's own agent, which this test plays. */
async function h1IsReady(): Promise<void> {
  await until('h1 is ready', LIMIT_MS, async () => {
    const { node } = await shown<ShownNode>('node', 'show', 'h1');
    return node.ready === true ? undefined : (node.notReadyReason ?? 'not ready');
  });
}

/** Heartbeats arrive from h1 for as long as it takes, none of them much too late. */
async function heartbeatsGoOn(): Promise<void> {
  const leave = new AbortController();
  const limit = setTimeout(() => {
    leave.abort();
  }, LIMIT_MS);
  let lastMs = performance.now();
  let latestMs = 0;
  let beats = 0;
  try {
    for await (const message of mesh.nodeAgent(`${h1.addresses.a}:${ports['node-agent']}`).watchNode({}, { signal: leave.signal })) {
      latestMs = Math.max(latestMs, performance.now() - lastMs);
      lastMs = performance.now();
      beats += message.sequence > 0n ? 1 : 0;
      if (beats > HEARTBEATS) break;
    }
  } finally {
    clearTimeout(limit);
    leave.abort();
  }
  expect(beats).toBeGreaterThan(HEARTBEATS);
  expect(latestMs).toBeLessThan(LATEST_MS);
}

const ask = () => mesh.nodeAgent(`${h1.addresses.a}:${ports['node-agent']}`).getNode({});

/** What h1's agent says of a figure, asked of itself: the way to it is there whatever else is not. */
async function figure(name: string): Promise<{ ageS: number; failure: string }> {
  const { node } = await ask();
  const found = node?.figures?.ages.find(({ collector }) => collector === name);
  return { ageS: Number(found?.age?.seconds ?? 0), failure: found?.failure ?? '' };
}

async function grownOld(name: string): Promise<void> {
  await until(`the figures of ${name} say why they are old`, LIMIT_MS, async () => {
    const { failure } = await figure(name);
    return failure === '' ? 'they do not fail' : undefined;
  });
}

async function recovered(): Promise<void> {
  await until('everything has recovered by itself', LIMIT_MS, async () => {
    const { node } = await ask();
    const failing = node?.figures?.ages.filter(({ failure }) => failure !== '') ?? [];
    if (failing.length > 0) return failing.map(({ collector, failure }) => `${collector}: ${failure}`).join('; ');
    return node?.ready === true ? undefined : (node?.notReadyReason ?? 'no node');
  });
  await h1IsReady();
}

const consulAway = (signal: 'SIGSTOP' | 'SIGCONT'): void => {
  for (const host of lab.hosts) signalPart(host, 'consul', signal);
};

interface Fault {
  begin: (guest: TestGuest) => void;
  end: (guest: TestGuest) => void;
  /** What shows it; undefined where nothing of the node's own does. */
  shows: (() => Promise<void>) | undefined;
}

const faults: Record<string, Fault> = {
  'a frozen QEMU': {
    begin: (guest) => { signalPart(h1, `vm/${guest.name}`, 'SIGSTOP'); },
    end: (guest) => { signalPart(h1, `vm/${guest.name}`, 'SIGCONT'); },
    shows: undefined,
  },
  'a ceph that hangs': {
    begin: () => { writeFileSync(hangs, ''); },
    end: () => { rmSync(hangs, { force: true }); },
    shows: () => grownOld('ceph'),
  },
  'a libvirtd that stands still': {
    begin: () => { signalPart(h1, 'libvirtd', 'SIGSTOP'); },
    end: () => { signalPart(h1, 'libvirtd', 'SIGCONT'); },
    shows: () => grownOld('vms'),
  },
};

describe('the heartbeat of a node goes on', () => {
  it.each(Object.entries(faults))('with %s, and all recovers by itself', async (_what, fault) => {
    const guest = await startGuest('h1');
    fault.begin(guest);
    try {
      await heartbeatsGoOn();
      await fault.shows?.();
    } finally {
      fault.end(guest);
    }
    await recovered();
    await guest.countsOn();
  });

  it('without Consul for 20 s, as the way to its own leader is there', async () => {
    const guest = await startGuest('h1');
    consulAway('SIGSTOP');
    try {
      const begunMs = performance.now();
      await heartbeatsGoOn();
      await until('the agent says that the store is lost', LIMIT_MS, async () => {
        const { node } = await ask();
        return (node?.notReadyReason ?? '').includes('STORE_LOST') ? undefined : (node?.notReadyReason ?? '');
      });
      await until('twenty seconds have passed', LIMIT_MS, () =>
        Promise.resolve(performance.now() - begunMs > CONSUL_AWAY_MS ? undefined : 'not yet'),
      );
      await heartbeatsGoOn();
    } finally {
      consulAway('SIGCONT');
    }
    await recovered();
    await guest.countsOn();
  });

  it('ancestor 27: with all of it at once; `node show` says of each figure how old it is and why', async () => {
    const guest = await startGuest('h1');
    for (const { begin } of Object.values(faults)) begin(guest);
    consulAway('SIGSTOP');
    try {
      await heartbeatsGoOn();
      for (const { shows } of Object.values(faults)) await shows?.();
    } finally {
      consulAway('SIGCONT');
    }
    try {
      // Consul is back, so that there is a leader to ask; the rest goes on.
      await until('node show tells of what still fails', LIMIT_MS, async () => {
        const { code, stdout, stderr } = await lockstep('node', 'show', 'h1');
        if (code !== 0) return stderr;
        return /^ceph +\S+ +.*ceph/m.test(stdout) && /^vms +\S+ +\S/m.test(stdout) ? undefined : stdout;
      });
    } finally {
      for (const { end } of Object.values(faults)) end(guest);
    }
    await recovered();
    await guest.countsOn();
  });
});

it('domains that are defined and undefined in a storm spoil no pass', async () => {
  const guest = await startGuest('h1');
  for (let round = 0; round < 15; round += 1) {
    const name = `storm-${round}`;
    await withXmlFile(guestXml(lab, { kind: 'counter', name }), (file) => virsh(h1, ['define', file]));
    expect((await figure('vms')).failure).toBe('');
    await attemptVirsh(h1, ['undefine', name]);
    expect((await figure('vms')).failure).toBe('');
  }
  await guest.countsOn();
});

it("a tick is one line, debug names its subtasks, and no BMC's password is in anything that is told", async () => {
  const before = agent.log().length;
  await mesh.nodeAgent(`${h1.addresses.a}:${ports['node-agent']}`).setDebug({ enabled: true });
  await until('debug lines of every subtask', LIMIT_MS, () => {
    const wanting = ['vms', 'usage', 'host', 'ceph', 'bridges'].filter((name) => !agent.log().includes(`"keepalive/${name}"`));
    return Promise.resolve(wanting.length === 0 ? undefined : wanting.join(' '));
  });
  const ticks = agent.log().slice(before).split('\n').filter((line) => line.includes('"state":"t"'));
  for (const tick of ticks) expect(tick).toMatch(/\d+ of \d+ VMs run, .* GiB used, load /);
  await mesh.nodeAgent(`${h1.addresses.a}:${ports['node-agent']}`).setDebug({ enabled: false });

  await mesh.nodeAgent(`${h1.addresses.a}:${ports['node-agent']}`).checkBmc({ node: 'h2' });
  const metrics = await (await fetch(`http://${h1.addresses.a}:${ports['node-agent'] + 10}/metrics`)).text();
  expect(metrics).toContain('lockstep_node_condition');
  const commandLines = (await attempt('ps', ['-e', '-o', 'args'])).stdout;
  const logs = lab.hosts.flatMap((host) =>
    readdirSync(join(host.dir, 'log')).map((file) => readFileSync(join(host.dir, 'log', file), 'utf8')),
  );
  const told = [
    agent.log(),
    metrics,
    commandLines,
    ...logs,
    await ok('node', 'list', '-o', 'json'),
    await ok('node', 'show', 'h1', '-o', 'yaml'),
    await ok('fence', 'evidence', 'h2', '-o', 'json'),
    await ok('cluster', 'status', '-o', 'json'),
  ];
  for (const host of lab.hosts) {
    const { password } = credentialsOf(host);
    expect(told.filter((text) => text.includes(password))).toEqual([]);
  }
});
