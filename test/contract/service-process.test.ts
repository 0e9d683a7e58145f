// SPDX-License-Identifier: Apache-2.0
import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, chownSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

// Real processes of the services, as a service manager and Prometheus meet them. No Consul is there.

const root = fileURLToPath(new URL('../..', import.meta.url));
const WATCHDOG_MS = 3_000;
const PATIENCE = { timeout: 30_000, interval: 100 };

let folder: string;
let children: ChildProcess[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lockstep-process-'));
  children = [];
});

afterEach(async () => {
  for (const child of children) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  }
  rmSync(folder, { recursive: true });
});

/** Starts a program and gathers what it writes. */
function start(command: string, input: readonly string[], environment: Record<string, string> = {}) {
  const child = spawn(command, input, { env: { ...process.env, ...environment }, stdio: ['ignore', 'pipe', 'pipe'] });
  children.push(child);
  let text = '';
  const gather = (part: Buffer): void => {
    text += part.toString();
  };
  child.stdout.on('data', gather);
  child.stderr.on('data', gather);
  return { child, text: () => text, lines: () => text.split('\n').filter((line) => line !== '') };
}

/** Answers nobody: the store is away for as long as the test lasts. */
const NO_CONSUL = "address: '127.0.0.1:1'";

function startService(name: string, more: string, environment: Record<string, string> = {}, consul = NO_CONSUL) {
  const config = join(folder, `${name}.yaml`);
  writeFileSync(config, `node: n1\nlisten: 127.0.0.1:0\nmetrics_listen: 127.0.0.1:0\nconsul: { ${consul} }\n${more}`);
  const main = join(root, 'services/dist', name, 'main.js');
  const preload = join(root, 'test/contract/stuck-on-signal.mjs');
  return start(process.execPath, ['--import', preload, main, '--config', config], environment);
}

const AGENT = () => `state_dir: ${folder}\nhost_uuid: 6f0c9a52-6a4e-4d5c-9c57-0e7e2f0a7b11\nhypervisor: { kind: simulated }\n`;

/** Where the service tells its metrics, by its own word. */
async function metricsOf(service: { text: () => string }): Promise<string> {
  return vi.waitFor(() => {
    const address = /metrics and health at ([\d.:]+)/.exec(service.text())?.[1];
    if (address === undefined) throw new Error(`no metrics yet: ${service.text()}`);
    return `http://${address}`;
  }, PATIENCE);
}

describe('a service under systemd', () => {
  it('says READY, feeds the watchdog, stops feeding when its loop is stuck', async () => {
    const socket = join(folder, 'notify');
    const manager = start('/usr/bin/python3', [join(root, 'test/contract/notify-socket.py'), socket]);
    await vi.waitFor(() => { expect(manager.lines()).toContain('LISTENING'); }, PATIENCE);
    const fed = () => manager.lines().filter((line) => line === 'WATCHDOG=1').length;
    const agent = startService('node-agent', AGENT(), { NOTIFY_SOCKET: socket, WATCHDOG_USEC: String(WATCHDOG_MS * 1_000) });

    await vi.waitFor(() => { expect(manager.lines()).toContain('READY=1'); }, PATIENCE);
    await vi.waitFor(() => { expect(fed()).toBeGreaterThan(2); }, PATIENCE);

    agent.child.kill('SIGUSR2');
    await vi.waitFor(() => { expect(agent.text()).toContain('STUCK'); }, PATIENCE);
    await delay(WATCHDOG_MS / 2); // what was on its way arrives
    const fedBefore = fed();
    await delay(WATCHDOG_MS);
    expect(fed()).toBe(fedBefore);
    expect(agent.child.exitCode).toBeNull();
  });

  it('says STOPPING and ends well when told to', async () => {
    const socket = join(folder, 'notify');
    const manager = start('/usr/bin/python3', [join(root, 'test/contract/notify-socket.py'), socket]);
    await vi.waitFor(() => { expect(manager.lines()).toContain('LISTENING'); }, PATIENCE);
    const scheduler = startService('scheduler', '', { NOTIFY_SOCKET: socket });
    await vi.waitFor(() => { expect(manager.lines()).toContain('READY=1'); }, PATIENCE);
    scheduler.child.kill('SIGTERM');
    const [status] = (await once(scheduler.child, 'exit')) as [number | null];
    expect(status).toBe(0);
    await vi.waitFor(() => { expect(manager.lines()).toContain('STOPPING=1'); }, PATIENCE);
    expect(manager.lines()).not.toContain('WATCHDOG=1');
  });

  it('has units that systemd finds nothing wrong with', () => {
    const units = readdirSync(join(root, 'deploy/systemd')).filter((name) => name.endsWith('.service'));
    expect(units.sort()).toEqual(['lockstep-fencer.service', 'lockstep-node-agent.service', 'lockstep-scheduler.service']);
    // It looks for the programs, too; those of the package are not installed where this runs.
    for (const unit of units) {
      const text = execFileSync('sed', [`s|^ExecStart=[^ ]*|ExecStart=${process.execPath}|`, join(root, 'deploy/systemd', unit)]);
      writeFileSync(join(folder, unit), text);
    }
    const output = execFileSync('/bin/sh', ['-c', 'systemd-analyze verify "$@" 2>&1', 'sh', ...units.map((unit) => join(folder, unit))]);
    expect(output.toString()).toBe('');
  });
});

describe("the agent's unit", () => {
  const unit = readFileSync(join(root, 'deploy/systemd/lockstep-node-agent.service'), 'utf8');
  const valueOf = (key: string): string | undefined => new RegExp(`^${key}=(.*)$`, 'm').exec(unit)?.[1];

  /** As root with only these capabilities, in a network namespace of its own. */
  const attempt = (capabilities: readonly string[], script: string): { status: number | null; stderr: string } => {
    const kept = capabilities.map((name) => `,+${name.replace('CAP_', '').toLowerCase()}`).join('');
    const confined = ['setpriv', '--no-new-privs', '--inh-caps=-all', `--bounding-set=-all${kept}`, 'sh', '-ec', script];
    const { status, stderr } = spawnSync('unshare', ['--net', ...confined], { encoding: 'utf8' });
    return { status, stderr };
  };

  it('leaves it the rights that its work needs, which it has not without them', () => {
    const console = join(folder, 'console.log');
    writeFileSync(console, 'hello\n', { mode: 0o600 });
    chownSync(console, 65_534, 65_534);
    const kept = (valueOf('CapabilityBoundingSet') ?? '').split(' ').filter((name) => name !== '');
    const works = {
      'makes links': 'ip link add name br-unit type bridge',
      'keeps IPv6 off them': 'test ! -d /proc/sys/net/ipv6 || echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6',
      "reads consoles of QEMU's user": `cat ${console}`,
    };
    chmodSync(folder, 0o755);
    for (const [what, script] of Object.entries(works)) {
      expect(attempt(kept, script), what).toEqual({ status: 0, stderr: '' });
    }
    expect(attempt([], works['makes links']).status).not.toBe(0);
    expect(attempt([], works["reads consoles of QEMU's user"]).status).not.toBe(0);
  });

  it('lets it write settings of the kernel and open the watchdog, and stops no guest with it', () => {
    expect(valueOf('ProtectKernelTunables')).toBe('no');
    expect(valueOf('PrivateDevices')).toBe('no');
    expect(unit).toMatch(/^DevicePolicy=closed\nDeviceAllow=\/dev\/watchdog rw$/m);
    expect(valueOf('KillMode')).toBe('mixed');
  });
});

describe("a service's debug lines", () => {
  it('are switched on and off by SIGUSR1, and name their subtasks; without them a tick is one line', async () => {
    const agent = startService('node-agent', AGENT());
    const ticks = () => agent.lines().filter((line) => line.includes('"state":"t"')).length;
    const debugs = () => agent.lines().filter((line) => line.includes('"state":"d"'));
    await vi.waitFor(() => { expect(ticks()).toBeGreaterThan(0); }, PATIENCE);
    expect(debugs()).toEqual([]);
    agent.child.kill('SIGUSR1');
    await vi.waitFor(() => {
      for (const subtask of ['keepalive/vms', 'keepalive/usage', 'keepalive/host']) expect(agent.text()).toContain(`"${subtask}"`);
    }, PATIENCE);
    agent.child.kill('SIGUSR1');
    await delay(500); // what was on its way is written
    const before = { debugs: debugs().length, ticks: ticks() };
    await vi.waitFor(() => { expect(ticks()).toBeGreaterThan(before.ticks); }, PATIENCE);
    expect(debugs()).toHaveLength(before.debugs);
  });
});

describe('what monitoring sees of a service without its store', () => {
  it.each([
    { name: 'node-agent', more: AGENT, reason: 'NOT_JOINED', shown: /^lockstep_node_memory_bytes\{kind="total"\} [1-9]/m },
    { name: 'scheduler', more: () => '', reason: 'no leader is known', shown: /^lockstep_leader\{role="scheduler"\} 0$/m },
    { name: 'fencer', more: () => '', reason: 'no leader is known', shown: /^lockstep_leader\{role="fencer"\} 0$/m },
  ])('$name lives, is not ready and says why, and counts', async ({ name, more, reason, shown }) => {
    const url = await metricsOf(startService(name, more()));
    const text = async (path: string) => (await fetch(`${url}${path}`)).text();
    expect(await text('/livez')).toBe('ok\n');
    expect((await fetch(`${url}/readyz`)).status).toBe(503);
    expect(await text('/readyz')).toContain(reason);
    await vi.waitFor(async () => { expect(await text('/metrics')).toMatch(shown); }, PATIENCE);
    await vi.waitFor(async () => {
      expect(await text('/metrics')).toMatch(/^lockstep_store_failures_total\{call="[a-z]+",kind="[a-z-]+"\} [1-9]/m);
    }, PATIENCE);
    expect(await text('/metrics')).toMatch(/^lockstep_event_loop_delay_worst_seconds [\d.e-]+$/m);
  });
});

describe("the secrets of a service's configuration", () => {
  const token = `token-${randomBytes(16).toString('hex')}`;
  const password = `pw${randomBytes(8).toString('hex')}`;

  /** The command lines of all processes of this machine. */
  function processes(): string[] {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .flatMap((pid) => {
        try {
          return [readFileSync(`/proc/${pid}/cmdline`, 'utf8')];
        } catch {
          return []; // it has ended
        }
      });
  }

  it.each([
    // The last line of each tells that the secret was used in vain.
    { name: 'node-agent', more: AGENT, last: 'fencing this node would fail' },
    { name: 'scheduler', more: () => '', last: 'Permission denied' },
    { name: 'fencer', more: () => '', last: 'Permission denied' },
  ])('are in nothing that $name tells, debug lines included', async ({ name, more, last }) => {
    writeFileSync(join(folder, 'token'), token, { mode: 0o600 });
    const bmcs = `nodes: { n1: { kind: ipmi, address: 127.0.0.1, port: 1, username: lockstep, password: ${password} } }\n`;
    writeFileSync(join(folder, 'bmc.yaml'), bmcs, { mode: 0o600 });
    const told = new Set<string>();
    const tokens = new Set<unknown>();
    const consul = createServer((request, response) => {
      tokens.add(request.headers['x-consul-token']);
      response.writeHead(403).end('Permission denied');
    });
    await new Promise<void>((resolve) => consul.listen(0, '127.0.0.1', resolve));
    try {
      const { port } = consul.address() as AddressInfo;
      const bmcFile = name === 'scheduler' ? '' : `bmc_file: ${join(folder, 'bmc.yaml')}\n`;
      const reach = `address: '127.0.0.1:${String(port)}', token_file: ${join(folder, 'token')}`;
      const service = startService(name, `${more()}${bmcFile}log: { debug: true }\n`, {}, reach);
      await vi.waitFor(() => {
        for (const line of processes()) told.add(line);
        expect(service.text()).toContain(last);
        expect([...tokens]).toEqual([token]);
      }, PATIENCE);
      const url = await metricsOf(service);
      for (const path of ['/metrics', '/livez', '/readyz']) told.add(await (await fetch(`${url}${path}`)).text());
      const ended = once(service.child, 'exit');
      service.child.kill('SIGTERM');
      await ended;
      told.add(service.text());
    } finally {
      consul.closeAllConnections();
      consul.close();
    }
    for (const secret of [token, password]) expect([...told].filter((text) => text.includes(secret))).toEqual([]);
  });
});
