// SPDX-License-Identifier: Apache-2.0
import { spawn, type ChildProcess } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { connect as connectLibvirt } from '@lockstep/node-libvirt';
import { connect, type Lockstep } from '@lockstep/sdk';
import { parse, stringify } from 'yaml';
import { ensureImage, guestXml, inside, killPart, ports, serversOf, signalPart, until, type HostLayout, type Lab } from '#lab';
import { inOwnLab, type Say } from './own-lab.js';
import { cpuSecondsOf, watchMachine } from './process-usage.js';
import { loadNow, machineConditions, type Goal, type Report } from './report.js';

const DEFINED_DOMAINS = 300;
const HEARTBEAT_MS = 1_000;
const TICK_SECONDS = 5;
const CPU_GOAL = 0.02;
const LATENESS_GOAL_MS = 50;
const READY_LIMIT_MS = 120_000;
/** Until a fault is felt by what it is about. */
const SETTLE_MS = 8_000;

interface Measured {
  phase: string;
  /** Of one core. */
  own: number;
  withChildren: number;
  latenessP99Ms: number;
  latenessMaxMs: number;
  heartbeats: number;
  loopDelayMs: number;
  machine: number;
}

interface Options {
  guests: number;
  seconds: number;
  say: Say;
}

/** One agent with many domains: what its keepalive costs, and how late its heartbeats are where they arrive. */
export async function benchKeepalive({ guests, seconds, say }: Options): Promise<Report> {
  return await inOwnLab({ withServices: true, say }, async (lab) => {
    const [host] = lab.hosts;
    if (host === undefined) throw new Error('the lab has no host');
    const mesh = connect({ servers: serversOf(lab) });
    const agent = await startAgent(lab, host);
    try {
      await populate(lab, host, guests, say);
      await ready(mesh, host);
      const loadBefore = loadNow();
      const phases: Measured[] = [];
      const measureIn = async (phase: string): Promise<void> => {
        say(`${phase}: ${seconds} s`);
        await pause(SETTLE_MS);
        phases.push(await measure({ phase, host, pid: agent.pid, seconds, mesh }));
      };
      await measureIn('nothing wrong');
      signalPart(host, 'vm/running-0', 'SIGSTOP');
      await measureIn('one QEMU frozen');
      signalPart(host, 'vm/running-0', 'SIGCONT');
      writeFileSync(agent.hangs, '');
      await measureIn('ceph hanging');
      return reportOf(phases, { guests, seconds, loadBefore });
    } finally {
      agent.end();
      mesh.close();
    }
  });
}

/** The host's agent anew, with a `ceph` on its PATH that answers, or sleeps while a file says so. */
async function startAgent(lab: Lab, host: HostLayout): Promise<{ pid: number; hangs: string; end: () => void }> {
  const folder = join(lab.stateDir, 'bench');
  mkdirSync(folder, { recursive: true });
  const hangs = join(folder, 'hangs');
  rmSync(hangs, { force: true });
  const dump = JSON.stringify({ osds: [{ osd: 0, up: 1, in: 1 }] });
  const status = JSON.stringify({ health: { status: 'HEALTH_OK', checks: {} }, pgmap: { bytes_used: 1, bytes_total: 2 } });
  const script = `#!/bin/sh\n[ -e ${hangs} ] && exec sleep 300\ncase "$*" in *'osd dump'*) echo '${dump}' ;; *) echo '${status}' ;; esac\n`;
  writeFileSync(join(folder, 'ceph'), script);
  chmodSync(join(folder, 'ceph'), 0o755);
  writeFileSync(join(folder, 'ceph.conf'), '');
  const config = parse(readFileSync(join(host.dir, 'lockstep/node-agent.yaml'), 'utf8')) as object;
  const file = join(folder, 'node-agent.yaml');
  writeFileSync(file, stringify({ ...config, ceph_config_file: join(folder, 'ceph.conf') }));
  await killPart(host, 'node-agent');
  const main = join(lab.checkout, 'services/dist/node-agent/main.js');
  const path = `PATH=${folder}:${process.env['PATH'] ?? ''}`;
  const [program, ...args] = ['nsenter', ...inside(host).slice(1), 'env', path, process.execPath, main, '--config', file] as const;
  // nsenter and env become the agent: its process is this one.
  const child: ChildProcess = spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  if (child.pid === undefined) throw new Error('the agent could not be started');
  await pause(1_000);
  return { pid: child.pid, hangs, end: () => void child.kill('SIGKILL') };
}

async function populate(lab: Lab, host: HostLayout, guests: number, say: Say): Promise<void> {
  say(`defining ${DEFINED_DOMAINS} domains, and starting ${guests} more`);
  await ensureImage(lab, { kind: 'counter' });
  const connection = await connectLibvirt({ socketPath: host.libvirtSocket });
  try {
    for (let index = 0; index < DEFINED_DOMAINS; index++) {
      await connection.domains.defineXml(guestXml(lab, { kind: 'counter', name: `defined-${String(index).padStart(3, '0')}` }));
    }
    for (let index = 0; index < guests; index++) {
      const domain = await connection.domains.defineXml(guestXml(lab, { kind: 'counter', name: `running-${index}` }));
      await connection.domains.start(domain);
    }
  } finally {
    await connection.close();
  }
}

const agentOf = (mesh: Lockstep, host: HostLayout) => mesh.nodeAgent(`${host.addresses.a}:${ports['node-agent']}`);

async function ready(mesh: Lockstep, host: HostLayout): Promise<void> {
  await until('the agent has everything', READY_LIMIT_MS, async () => {
    const { node } = await agentOf(mesh, host)
      .getNode({})
      .catch(() => ({ node: undefined }));
    const total = node?.figures?.vmsTotal ?? 0;
    return node?.ready === true && total >= DEFINED_DOMAINS ? undefined : `${total} VMs, ${node?.notReadyReason ?? 'no answer'}`;
  });
}

async function measure(input: { phase: string; host: HostLayout; pid: number; seconds: number; mesh: Lockstep }): Promise<Measured> {
  const { phase, host, pid, seconds, mesh } = input;
  const leave = new AbortController();
  const lateness: number[] = [];
  const watching = (async () => {
    let lastMs: number | undefined;
    for await (const { node } of agentOf(mesh, host).watchNode({}, { signal: leave.signal })) {
      const nowMs = performance.now();
      // What comes with news comes when there is news; a heartbeat is due a second after what came before it.
      if (node === undefined && lastMs !== undefined) lateness.push(Math.max(0, nowMs - lastMs - HEARTBEAT_MS));
      lastMs = nowMs;
    }
  })().catch((error: unknown) => {
    if (!leave.signal.aborted) throw error;
  });
  const usedOf = watchMachine();
  const before = cpuSecondsOf(pid);
  const startMs = performance.now();
  let loopDelayMs = 0;
  for (let elapsed = 0; elapsed < seconds; elapsed += TICK_SECONDS) {
    await pause(TICK_SECONDS * 1_000);
    loopDelayMs = Math.max(loopDelayMs, await loopDelayOf(host));
  }
  const tookS = (performance.now() - startMs) / 1_000;
  const after = cpuSecondsOf(pid);
  leave.abort();
  await watching;
  const own = (after.own - before.own) / tookS;
  const sorted = lateness.sort((a, b) => a - b);
  return {
    phase,
    own,
    withChildren: own + (after.children - before.children) / tookS,
    latenessP99Ms: sorted[Math.max(0, Math.ceil(sorted.length * 0.99) - 1)] ?? Number.NaN,
    latenessMaxMs: sorted.at(-1) ?? Number.NaN,
    heartbeats: sorted.length,
    loopDelayMs,
    machine: usedOf(),
  };
}

async function loopDelayOf(host: HostLayout): Promise<number> {
  const answer = await fetch(`http://${host.addresses.a}:${ports['node-agent'] + 10}/metrics`);
  const seconds = /^lockstep_event_loop_delay_worst_seconds (\S+)$/m.exec(await answer.text())?.[1];
  return Number(seconds ?? 0) * 1_000;
}

function reportOf(phases: readonly Measured[], { guests, seconds, loadBefore }: { guests: number; seconds: number; loadBefore: string }): Report {
  const percent = (value: number): string => `${(value * 100).toFixed(2)} %`;
  const told = phases.map((each): [string, string] => [
    each.phase,
    `${percent(each.own)} of one core (${(each.own * TICK_SECONDS * 1_000).toFixed(0)} ms a tick; with the programs it starts ` +
      `${percent(each.withChildren)}), event loop held up ${each.loopDelayMs.toFixed(0)} ms at worst, ${each.heartbeats} ` +
      `heartbeats late by ${each.latenessP99Ms.toFixed(0)} ms (p99) and ${each.latenessMaxMs.toFixed(0)} ms (most), ` +
      `machine in use ${percent(each.machine)}`,
  ]);
  const goals = phases.flatMap(({ phase, own, latenessP99Ms }): Goal[] => [
    { what: `processor time, ${phase}`, want: 'below 2 % of one core', got: percent(own), met: own < CPU_GOAL },
    {
      what: `heartbeat lateness p99 where it arrives, ${phase}`,
      want: `below ${LATENESS_GOAL_MS} ms`,
      got: `${latenessP99Ms.toFixed(0)} ms`,
      met: latenessP99Ms < LATENESS_GOAL_MS,
    },
  ]);
  return {
    benchmark: 'keepalive',
    conditions: {
      ...machineConditions(),
      'load before / after': `${loadBefore} / ${loadNow()}`,
      node: `${DEFINED_DOMAINS} defined domains and ${guests} that run, a tick every ${TICK_SECONDS} s, each phase ${seconds} s`,
      ...Object.fromEntries(told),
    },
    tables: [],
    goals,
  };
}
