// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { connect, type Lockstep } from '@lockstep/sdk';
import { Node, NodeAgentServiceDefinition, NodeMode, type NodeAgentServiceImplementation } from '@lockstep/sdk/v1';
import { milliseconds } from '@lockstep/services/core/duration.js';
import { nodeCodec } from '@lockstep/services/core/records/codec.js';
import { keys } from '@lockstep/services/core/records/keys.js';
import { createMemoryLogger } from '@lockstep/services/platform/log/memory.js';
import { implement } from '@lockstep/services/platform/rpc/implement.js';
import { serve, service } from '@lockstep/services/platform/rpc/server.js';
import { stringify } from 'yaml';
import { layout, until } from '#lab';
import { startConsul, type ConsulServer } from '../contract/consul.js';
import type { Say } from './own-lab.js';
import { cpuSecondsOf, residentMibOf } from './process-usage.js';
import { loadNow, machineConditions, type Goal, type Report } from './report.js';

const HEARTBEAT_MS = 1_000;
const READY_LIMIT_MS = 300_000;
const SETTLE_MS = 10_000;
const JOIN_AT_ONCE = 16;
const GIB = 2n ** 30n;
/** One listening socket lets 511 callers wait; a real agent has one of its own. */
const AGENTS_PER_SERVER = 50;
/** Consul writes a little by itself, and the leader's lease none. */
const WRITES_GOAL_PER_SECOND = 1;

interface Phase {
  agents: number;
  tickMs: number;
}

interface Measured extends Phase {
  cpu: number;
  residentMib: number;
  writesPerSecond: number;
  /** Of the agent that the Scheduler heard last longest ago, at the phase's end. */
  oldestHeartbeatMs: number;
}

/**
 * Simulated agents in this process, each at an address of its own, streaming to one real Scheduler in a process of its own
 * with a real Consul: what it costs, and that what is written does not grow with them.
 */
export async function benchScale({ agents, seconds, say }: { agents: number; seconds: number; say: Say }): Promise<Report> {
  const loadBefore = loadNow();
  const consul = await startConsul({});
  const mesh = await startAgents(agents);
  const scheduler = await startScheduler(consul);
  try {
    const few = Math.max(1, Math.round(agents / 10));
    const measured: Measured[] = [];
    let present = 0;
    for (const phase of [{ agents: few, tickMs: 5_000 }, { agents, tickMs: 5_000 }, { agents, tickMs: 1_000 }]) {
      say(`${phase.agents} agents, a tick every ${phase.tickMs} ms`);
      mesh.tickMs = phase.tickMs;
      await writeNodes(consul, mesh.ports, present, phase.agents);
      present = phase.agents;
      await heard(scheduler.cluster, phase.agents);
      await pause(SETTLE_MS);
      measured.push(await measure(consul, scheduler, phase, seconds));
    }
    return reportOf(measured, { seconds, loadBefore });
  } finally {
    await scheduler.end();
    await mesh.end();
    await consul.dispose();
  }
}

/** Which node is meant, its leader says by the incarnation that it read from the record. */
async function startAgents(agents: number): Promise<{ ports: number[]; tickMs: number; end: () => Promise<void> }> {
  const mesh = { ports: [] as number[], tickMs: 5_000, end: () => Promise.resolve() };
  const implementation: NodeAgentServiceImplementation = implement(NodeAgentServiceDefinition, {
    async *watchNode({ header }, { signal }) {
      const index = Number(header?.incarnation ?? 1n) - 1;
      // Spread over time, as agents that were started apart are.
      let newsAtMs = performance.now() + (index % 100) * 50;
      for (let sequence = 1n; !signal.aborted; sequence += 1n) {
        const isNews = sequence === 1n || performance.now() >= newsAtMs;
        if (isNews && sequence > 1n) newsAtMs = performance.now() + mesh.tickMs;
        yield { node: isNews ? nodeOf(index, sequence) : undefined, vmsComplete: sequence === 1n, vms: [], vmsGone: [], sequence };
        await pause(Math.min(HEARTBEAT_MS, mesh.tickMs), undefined, { signal }).catch(() => undefined);
      }
    },
    applyNetworks: () => Promise.resolve({}),
  });
  const served = service(NodeAgentServiceDefinition, implementation);
  const count = Math.ceil(agents / AGENTS_PER_SERVER);
  const one = () => serve({ listen: '0.0.0.0:0', services: [served], log: createMemoryLogger() });
  const servers = await Promise.all(Array.from({ length: count }, one));
  mesh.ports = servers.map(({ address }) => Number(address.slice(address.lastIndexOf(':') + 1)));
  mesh.end = async () => {
    await Promise.all(servers.map((server) => server.close(0)));
  };
  return mesh;
}

const nameOf = (index: number): string => `n${String(index).padStart(5, '0')}`;

function nodeOf(index: number, sequence: bigint): Node {
  const memory = { totalBytes: 64n * GIB, usedBytes: GIB, freeBytes: 60n * GIB + sequence, availableBytes: 60n * GIB };
  return Node.fromPartial({
    name: nameOf(index),
    ready: true,
    incarnation: BigInt(index) + 1n,
    figures: {
      memory,
      cpu: { total: 16, load: Number(sequence % 16n) },
      ages: ['vms', 'usage', 'host', 'ceph', 'bridges'].map((collector) => ({ collector, age: { seconds: 1n, nanos: 0 } })),
    },
  });
}

/** Their records, as joining writes them; each at a loopback address of its own. */
async function writeNodes(consul: ConsulServer, ports: readonly number[], from: number, to: number): Promise<void> {
  let next = from;
  const work = async (): Promise<void> => {
    for (let index = next++; index < to; index = next++) await writeNode(consul, ports[index % ports.length] ?? 0, index);
  };
  await Promise.all(Array.from({ length: JOIN_AT_ONCE }, work));
}

async function writeNode(consul: ConsulServer, port: number, index: number): Promise<void> {
  const address = `127.${String(1 + (index >> 16))}.${String((index >> 8) & 255)}.${String(index & 255)}:${String(port)}`;
  const record = Node.create({ name: nameOf(index), address, incarnation: BigInt(index) + 1n, mode: NodeMode.ACTIVE });
  const answer = await fetch(`${consul.address}/v1/kv/${keys.node(record.name)}`, { method: 'PUT', body: nodeCodec.encode(record) });
  if (!answer.ok) throw new Error(`Consul did not take a record: ${answer.status}`);
}

interface SchedulerProcess {
  pid: number;
  cluster: Lockstep;
  end: () => Promise<void>;
}

async function startScheduler(consul: ConsulServer): Promise<SchedulerProcess> {
  const folder = mkdtempSync(join(tmpdir(), 'lockstep-scale-'));
  const port = await freePort();
  const file = join(folder, 'scheduler.yaml');
  const address = `127.0.0.1:${String(port)}`;
  writeFileSync(file, stringify({ node: 'contract', listen: address, consul: { address: new URL(consul.address).host } }));
  const main = join(layout().checkout, 'services/dist/scheduler/main.js');
  const child = spawn(process.execPath, [main, '--config', file], { stdio: ['ignore', 'ignore', 'ignore'] });
  const gone = new Promise((resolve) => child.once('close', resolve));
  if (child.pid === undefined) throw new Error('the Scheduler could not be started');
  const cluster = connect({ servers: [address], deadlineMs: 60_000 });
  return {
    pid: child.pid,
    cluster,
    end: async () => {
      cluster.close();
      child.kill('SIGKILL');
      await gone;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function heard(cluster: Lockstep, agents: number): Promise<void> {
  await until(`the Scheduler hears ${agents} agents`, READY_LIMIT_MS, async () => {
    await pause(1_000);
    try {
      const { nodes } = await cluster.scheduler.listNodes({});
      const ready = nodes.filter((node) => node.ready).length;
      return ready === agents ? undefined : `${ready} are ready`;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  });
}

async function measure(
  consul: ConsulServer,
  { pid, cluster }: SchedulerProcess,
  phase: Phase,
  seconds: number,
): Promise<Measured> {
  const writesBefore = await writesOf(consul);
  const before = cpuSecondsOf(pid).own;
  const startMs = performance.now();
  await pause(seconds * 1_000);
  const tookS = (performance.now() - startMs) / 1_000;
  const cpu = (cpuSecondsOf(pid).own - before) / tookS;
  const writesPerSecond = ((await writesOf(consul)) - writesBefore) / tookS;
  const { nodes } = await cluster.scheduler.listNodes({});
  const ages = nodes.map(({ heartbeatAge }) => milliseconds(heartbeatAge, Number.POSITIVE_INFINITY));
  return { ...phase, cpu, residentMib: residentMibOf(pid), writesPerSecond, oldestHeartbeatMs: Math.max(...ages) };
}

/** Entries in Consul's log: each write is one, whoever made it. */
async function writesOf(consul: ConsulServer): Promise<number> {
  const answer = await fetch(`${consul.address}/v1/agent/self`);
  const { Stats } = (await answer.json()) as { Stats: { raft: { last_log_index: string } } };
  return Number(Stats.raft.last_log_index);
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}

function reportOf(measured: readonly Measured[], { seconds, loadBefore }: { seconds: number; loadBefore: string }): Report {
  const told = measured.map(({ agents, tickMs, cpu, residentMib, writesPerSecond, oldestHeartbeatMs }): [string, string] => [
    `${agents} agents, a tick every ${tickMs / 1_000} s`,
    `${(cpu * 100).toFixed(1)} % of one core, ${residentMib.toFixed(0)} MiB, ` +
      `${writesPerSecond.toFixed(2)} Consul writes a second, oldest heartbeat ${(oldestHeartbeatMs / 1_000).toFixed(1)} s`,
  ]);
  const writes = measured.map(({ writesPerSecond }) => writesPerSecond);
  const spread = Math.max(...writes) - Math.min(...writes);
  const goal: Goal = {
    what: 'Consul writes a second, whatever the number of agents and their interval',
    want: `the same within ${WRITES_GOAL_PER_SECOND}`,
    got: writes.map((each) => each.toFixed(2)).join(', '),
    met: spread <= WRITES_GOAL_PER_SECOND,
  };
  return {
    benchmark: 'scale',
    conditions: {
      ...machineConditions(),
      'load before / after': `${loadBefore} / ${loadNow()}`,
      method: `simulated agents in one process, the Scheduler in another, one Consul server; ${seconds} s each`,
      ...Object.fromEntries(told),
    },
    tables: [],
    goals: [goal],
  };
}
