// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect } from '@lockstep/sdk';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { attempt, attemptVirsh, credentialsOf, guestXml, hostNamed, inside, ports, setBmcMode, signalPart, until, virsh } from '../../deploy/lab/api.js';
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
/** Kept like a token of the store, which the lab's does not ask for. */
const planted = `planted-${randomBytes(12).toString('hex')}`;

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
  writeFileSync(join(folder, 'token'), planted, { mode: 0o600 });
}

/** h1's agent with that `ceph` first on its PATH, and every debug line. */
async function startAgent(): Promise<ServiceProcess> {
  const config = parse(readFileSync(join(h1.dir, 'lockstep/node-agent.yaml'), 'utf8')) as { consul?: object };
  const path = `PATH=${folder}:${process.env['PATH'] ?? ''}`;
  return await startService('node-agent', {
    before: [...inside(h1), 'env', path],
    config: () => ({
      ...config,
      consul: { ...config.consul, token_file: join(folder, 'token') },
      ceph_config_file: join(folder, 'ceph.conf'),
      log: { debug: true },
    }),
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

/** `node show` says of these figures, and of no others, how old they are and why; and they get older. */
async function shownOld(names: readonly string[]): Promise<void> {
  await until(`node show tells of ${names.join(' and ')}`, LIMIT_MS, async () => {
    const { code, stdout, stderr } = await lockstep('node', 'show', 'h1');
    if (code !== 0) return stderr;
    const rows = stdout.slice(stdout.indexOf('\nCOLLECTOR ') + 1).split('\n\n')[0] ?? '';
    const told = [...rows.matchAll(/^(\w+) +\d\S* +\S.*$/gm)].map(([, name]) => name ?? '');
    return names.every((name) => told.includes(name)) ? undefined : stdout;
  });
  for (const name of names) {
    const { ageS } = await figure(name);
    await until(`${name} gets older`, LIMIT_MS, async () => ((await figure(name)).ageS > ageS ? undefined : `${ageS} s`));
  }
}

/** They are collected anew, pass by pass, and do not fail. */
async function staysFresh(name: string): Promise<void> {
  let before = -1;
  await until(`the figures of ${name} are looked at again and again`, LIMIT_MS, async () => {
    const { ageS, failure } = await figure(name);
    const anew = failure === '' && before > ageS;
    before = failure === '' ? ageS : -1;
    return anew ? undefined : `${ageS} s old${failure === '' ? '' : `, ${failure}`}`;
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

async function untilPassed(momentMs: number): Promise<void> {
  await until('the time has passed', LIMIT_MS, () => Promise.resolve(performance.now() > momentMs ? undefined : 'not yet'));
}

const consulAway = (signal: 'SIGSTOP' | 'SIGCONT'): void => {
  for (const host of lab.hosts) signalPart(host, 'consul', signal);
};

interface Fault {
  begin: (guest: TestGuest) => void;
  end: (guest: TestGuest) => void;
  /** The collector whose figures grow old by it; undefined: it costs nobody else anything. */
  ages: string | undefined;
}

const faults: Record<string, Fault> = {
  'a frozen QEMU': {
    begin: (guest) => { signalPart(h1, `vm/${guest.name}`, 'SIGSTOP'); },
    end: (guest) => { signalPart(h1, `vm/${guest.name}`, 'SIGCONT'); },
    ages: undefined,
  },
  'a ceph that hangs': {
    begin: () => { writeFileSync(hangs, ''); },
    end: () => { rmSync(hangs, { force: true }); },
    ages: 'ceph',
  },
  'a libvirtd that stands still': {
    begin: () => { signalPart(h1, 'libvirtd', 'SIGSTOP'); },
    end: () => { signalPart(h1, 'libvirtd', 'SIGCONT'); },
    ages: 'vms',
  },
};

describe('the heartbeat of a node goes on', () => {
  it.each(Object.entries(faults))('with %s, and all recovers by itself', async (_what, fault) => {
    const guest = await startGuest('h1');
    fault.begin(guest);
    try {
      await heartbeatsGoOn();
      if (fault.ages === undefined) {
        await staysFresh('vms');
        await staysFresh('usage');
      } else {
        await shownOld([fault.ages]);
        await staysFresh('host');
      }
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
      await untilPassed(begunMs + CONSUL_AWAY_MS);
      await heartbeatsGoOn();
    } finally {
      consulAway('SIGCONT');
    }
    await recovered();
    await guest.countsOn();
  });

  it('ancestor 27: with all of it at once; `node show` says of each figure how old it is and why', async () => {
    const guest = await startGuest('h1');
    const begunMs = performance.now();
    for (const { begin } of Object.values(faults)) begin(guest);
    consulAway('SIGSTOP');
    try {
      await heartbeatsGoOn();
      for (const { ages } of Object.values(faults)) if (ages !== undefined) await grownOld(ages);
      await staysFresh('host');
      await untilPassed(begunMs + CONSUL_AWAY_MS);
      await heartbeatsGoOn();
    } finally {
      consulAway('SIGCONT');
    }
    try {
      // Consul is back, so that there is a leader to ask; the rest goes on.
      await shownOld(['ceph', 'vms']);
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

it('a tick is one line, and debug names its subtasks', async () => {
  const before = agent.log().length;
  await mesh.nodeAgent(`${h1.addresses.a}:${ports['node-agent']}`).setDebug({ enabled: true });
  await until('debug lines of every subtask', LIMIT_MS, () => {
    const wanting = ['vms', 'usage', 'host', 'ceph', 'bridges'].filter((name) => !agent.log().includes(`"keepalive/${name}"`));
    return Promise.resolve(wanting.length === 0 ? undefined : wanting.join(' '));
  });
  const ticks = agent.log().slice(before).split('\n').filter((line) => line.includes('"state":"t"'));
  for (const tick of ticks) expect(tick).toMatch(/\d+ of \d+ VMs run, .* GiB used, load /);
  await mesh.nodeAgent(`${h1.addresses.a}:${ports['node-agent']}`).setDebug({ enabled: false });
});

it("no BMC's password and no token is in anything that anybody is told", async () => {
  // What is likely to be told with a secret in it: a check with a wrong password, a store that does not answer.
  await setBmcMode(lab, hostNamed(lab, 'h2'), 'wrong-password');
  try {
    for (const host of lab.hosts) {
      const { detail } = await mesh.nodeAgent(`${host.addresses.a}:${ports['node-agent']}`).checkBmc({ node: 'h2' });
      expect(detail).not.toBe('');
    }
  } finally {
    await setBmcMode(lab, hostNamed(lab, 'h2'), 'up');
  }
  const told = [agent.log(), ...(await logs()), ...(await processes()), ...(await metricsOfAll()), ...(await everyAnswer())];
  const secrets = [planted, ...lab.hosts.map((host) => credentialsOf(host).password)];
  expect(new Set(secrets).size).toBe(secrets.length);
  for (const secret of secrets) expect(told.filter((text) => text.includes(secret))).toEqual([]);
});

/** Every line that any process of the lab has written. */
async function logs(): Promise<string[]> {
  const texts = lab.hosts.flatMap((host) =>
    readdirSync(join(host.dir, 'log')).map((file) => readFileSync(join(host.dir, 'log', file), 'utf8')),
  );
  expect(texts.length).toBeGreaterThan(lab.hosts.length);
  return Promise.resolve(texts);
}

/** The process list, looked at while BMCs are asked. */
async function processes(): Promise<string[]> {
  const list = async (): Promise<string> => (await attempt('ps', ['-e', '-ww', '-o', 'args'])).stdout;
  const checks = lab.hosts.map((host) =>
    mesh.nodeAgent(`${host.addresses.a}:${ports['node-agent']}`).checkBmc({ node: 'h3' }),
  );
  const lists: string[] = [];
  const asking = { ended: false };
  const all = Promise.all(checks).finally(() => {
    asking.ended = true;
  });
  while (!asking.ended) lists.push(await list());
  await all;
  expect(lists.some((text) => text.includes('ipmitool'))).toBe(true);
  return lists;
}

/** What Prometheus and probes are told by every service on every host. */
async function metricsOfAll(): Promise<string[]> {
  const texts = lab.hosts.flatMap(({ addresses }) =>
    (['node-agent', 'scheduler', 'fencer'] as const).flatMap((service) =>
      ['metrics', 'livez', 'readyz'].map(async (path) => {
        const text = await (await fetch(`http://${addresses.a}:${ports[service] + 10}/${path}`)).text();
        if (path === 'metrics') expect(text).toContain('lockstep_ready');
        return text;
      }),
    ),
  );
  return await Promise.all(texts);
}

/** Every answer of the API that shows something, through the CLI and from the agents themselves. */
async function everyAnswer(): Promise<string[]> {
  const texts: string[] = [];
  for (const host of lab.hosts) {
    texts.push(JSON.stringify(await mesh.nodeAgent(`${host.addresses.a}:${ports['node-agent']}`).getNode({}), withoutBigints));
    texts.push(await ok('node', 'show', host.name, '-o', 'json'), await ok('fence', 'evidence', host.name, '-o', 'json'));
  }
  const lists = [
    ['node', 'list'], ['vm', 'list'], ['migration', 'list'], ['drain', 'list'], ['network', 'list'],
    ['fence', 'list'], ['events'], ['cluster', 'status'],
  ];
  for (const words of lists) texts.push(await ok(...words, '-o', 'json'), await ok(...words));
  return texts;
}

const withoutBigints = (_key: string, value: unknown): unknown => (typeof value === 'bigint' ? value.toString() : value);
