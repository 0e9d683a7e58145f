// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  attempt,
  attemptVirsh,
  continuityOf,
  ensureImage,
  guestXml,
  hostNamed,
  layout,
  libvirtUri,
  processesOf,
  run,
  serialFile,
  status,
  until,
  up,
  virsh,
  type Guest,
  type HostLayout,
  type Outcome,
} from '../../deploy/lab/api.js';
import { hostNamespaces, leftovers } from './leftovers.js';

// An instance of its own: somebody's lab on this machine is left alone.
const home = mkdtempSync(join(tmpdir(), 'lockstep-lab-test-'));
const env = { ...process.env, LOCKSTEP_LAB: process.env['LOCKSTEP_TEST_LAB'] ?? 'lt9', XDG_CONFIG_HOME: home };
const lab = layout(env);
const contextFile = join(home, 'lockstep/context.yaml');
const main = join(lab.checkout, 'deploy/dist/lab/main.js');
const h1 = hostNamed(lab, 'h1');
const h2 = hostNamed(lab, 'h2');

const labVerb = (...args: string[]): Promise<Outcome> =>
  attempt(process.execPath, [main, ...args], { env, timeoutMs: 120_000 });

/** Runs the verb as a person would, and fails with its words if it does. */
async function ok(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await labVerb(...args);
  expect(code, stderr).toBe(0);
  return `${stdout}${stderr}`;
}

/** The lab's verbs are tested here: a host that is long about coming back is not to be fenced meanwhile. */
async function disarmFencing(): Promise<void> {
  const cli = join(lab.checkout, 'clients/cli/dist/main.js');
  const words = ['fence', 'disarm', '--mode', 'freeze', '--reason', 'hosts are switched by hand', '--deadline', '60s'];
  const { code, stderr } = await attempt(process.execPath, [cli, ...words], { env, timeoutMs: 90_000 });
  expect(code, stderr).toBe(0);
}

const partNames = 'consul libvirtd node-agent scheduler fencer';

const bringUp = () => ok('up');

/** The host's parts with the processes that they are. */
const partProcesses = (host: HostLayout) =>
  readdirSync(join(host.dir, 'pids')).map((part) => `${part} ${readFileSync(join(host.dir, 'pids', part), 'utf8')}`);

/** What does not run that should. */
async function ailing(): Promise<string[]> {
  const hosts = await status(lab);
  expect(hosts.map((each) => Object.keys(each.parts).join(' '))).toEqual(Array(3).fill(partNames));
  return hosts.flatMap(({ host, bmc, parts }) =>
    Object.entries({ ...parts, bmc }).flatMap(([part, state]) =>
      state === 'running' ? [] : [`${host} ${part}: ${state}`],
    ),
  );
}

async function startGuest(host: HostLayout, guest: Guest): Promise<void> {
  await ensureImage(lab, guest);
  const file = join(home, `${guest.name}.xml`);
  writeFileSync(file, guestXml(lab, guest));
  await virsh(host, ['define', file]);
  await virsh(host, ['start', guest.name]);
}

async function countedTo(guest: string, value: number): Promise<void> {
  await until(`${guest} counts to ${value}`, 60_000, () => {
    const result = continuityOf(lab, guest);
    return Promise.resolve(result.last >= value || !result.ok ? undefined : `it is at ${result.last}`);
  });
}

/** Whether `from` reaches an address within a second. */
async function reaches(from: HostLayout, address: string): Promise<boolean> {
  const probe = `exec 3<>/dev/tcp/${address}/1`;
  const { stderr } = await labVerb('enter', from.name, 'timeout', '1', 'bash', '-c', probe);
  // Nobody listens on port 1: a refusal comes from the host itself.
  return stderr.includes('refused');
}

beforeAll(async () => {
  await labVerb('down', '--force');
});

afterAll(async () => {
  await labVerb('down', '--force');
  rmSync(home, { recursive: true, force: true });
});

describe('the lab', () => {
  it('comes up, and stays as it is when brought up again', async () => {
    await bringUp();
    expect(await ailing()).toEqual([]);
    const before = partProcesses(h1);
    expect(before.length).toBeGreaterThan(5);
    await bringUp();
    expect(partProcesses(h1)).toEqual(before);
    await disarmFencing();
  });

  it('refuses another checkout and names the one that holds it', async () => {
    const other = { ...lab, checkout: tmpdir() };
    await expect(up(other, { env })).rejects.toThrow(`was started by the checkout at ${lab.checkout}`);
  });

  it.each<Guest>([
    { name: 'counter', kind: 'counter' },
    { name: 'dirty', kind: 'dirty', dirtyMib: 16, dirtyMibPerSecond: 8 },
  ])('moves a guest between its hosts and back with its memory intact: $name', async (guest) => {
    await startGuest(h1, guest);
    await countedTo(guest.name, 60);
    for (const [from, to] of [
      [h1, h2],
      [h2, h1],
    ] as const) {
      await virsh(from, ['migrate', '--live', '--persistent', '--undefinesource', guest.name, libvirtUri(to)], 60_000);
      await countedTo(guest.name, continuityOf(lab, guest.name).last + 60);
    }
    expect(continuityOf(lab, guest.name)).toMatchObject({ ok: true, moves: 2 });
  });

  it('tells a guest that started again from one that went on', async () => {
    await virsh(h1, ['destroy', 'counter']);
    await virsh(h1, ['start', 'counter']);
    await until('second life of the guest', 30_000, () => {
      return Promise.resolve(continuityOf(lab, 'counter').ok ? 'nothing new printed' : undefined);
    });
    expect(continuityOf(lab, 'counter')).toMatchObject({ ok: false, kind: 'repeated' });
  });

  it('freezes a guest and lets it go on', async () => {
    const printed = async () => (await run('wc', ['-c', serialFile(h1, 'dirty')])).trim();
    await ok('stop', 'h1', 'vm/dirty');
    const before = await printed();
    await sleep(500);
    expect(await printed()).toBe(before);
    await ok('cont', 'h1', 'vm/dirty');
    await until('guest goes on', 10_000, async () => ((await printed()) === before ? 'nothing printed' : undefined));
  });

  it('keeps a guest running when its libvirtd is killed and started again', async () => {
    await ok('kill', 'h1', 'libvirtd');
    expect((await attemptVirsh(h1, ['list'], 5_000)).code).not.toBe(0);
    await ok('start', 'h1', 'libvirtd');
    expect((await virsh(h1, ['domstate', 'dirty'])).trim()).toBe('running');
  });

  it('crashes a host and starts it again, the others untouched', async () => {
    const others = partProcesses(h2);
    const bootIdBefore = await ok('enter', 'h1', 'cat', '/proc/sys/kernel/random/boot_id');
    await ok('crash', 'h1');
    expect(await processesOf(h1)).toEqual([]);
    expect(partProcesses(h2)).toEqual(others);
    await ok('start', 'h1');
    expect(await ailing()).toEqual([]);
    expect((await virsh(h1, ['list', '--all', '--name'])).trim().split('\n').sort()).toEqual(['counter', 'dirty']);
    expect((await virsh(h1, ['domstate', 'dirty'])).trim()).toBe('shut off');
    expect(await ok('enter', 'h1', 'cat', '/proc/sys/kernel/random/boot_id')).not.toBe(bootIdBefore);
  });

  it('switches a host off and on through its BMC', async () => {
    await ok('power', 'h2', 'off');
    expect(await processesOf(h2)).toEqual([]);
    const refused = await labVerb('start', 'h2');
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('powered off') as string });
    await ok('power', 'h2', 'on');
    await until('h2 is back', 60_000, async () => {
      const missing = await ailing();
      return missing.length === 0 ? undefined : missing.join(', ');
    });
  });

  it('has BMCs that are dead or know another password', async () => {
    await ok('bmc', 'h3', 'wrong-password');
    expect(await labVerb('power', 'h3', 'off')).toMatchObject({ code: 1 });
    await ok('bmc', 'h3', 'dead');
    expect(await labVerb('power', 'h3', 'off')).toMatchObject({ code: 1 });
    await ok('bmc', 'h3', 'up');
    expect(await ailing()).toEqual([]);
  });

  it('cuts one network and leaves the other', async () => {
    await ok('cut', 'h1', '--net', 'a');
    expect(await reaches(h2, h1.addresses.a)).toBe(false);
    expect(await reaches(h2, h1.addresses.b)).toBe(true);
    await ok('cut', 'h1');
    expect(await reaches(h2, h1.addresses.b)).toBe(false);
    expect(await reaches(h2, h1.bmcAddress)).toBe(true);
    await ok('heal', 'h1');
    // The kernel takes up to a second to believe a cable that was put in.
    await until('h1 is back', 10_000, async () => ((await reaches(h2, h1.addresses.a)) ? undefined : 'not reached'));
  });

  it('names what it does not know', async () => {
    expect(await labVerb('crash', 'h9')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('the hosts are h1, h2, h3') as string,
    });
    expect(await labVerb('kill', 'h1', 'consol')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('there is no part "consol"') as string,
    });
    expect(await labVerb('limit', 'h1', 'fast')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('no rate') as string,
    });
    expect(await labVerb('enter', 'h1', 'false')).toMatchObject({ code: 1 });
  });

  it('goes down and leaves nothing', async () => {
    const namespaces = await hostNamespaces(lab);
    expect(await leftovers(lab, namespaces, contextFile)).not.toEqual([]);
    await ok('down');
    expect(await leftovers(lab, namespaces, contextFile)).toEqual([]);
    expect(await ok('down')).toContain('was not up');
  });

  it('comes up, and goes down without leftovers, after an up that was killed at any point', async () => {
    for (const killAfterMs of [200, 500, 1_500, 4_000, 7_000].map((base) => base + Math.floor(Math.random() * base))) {
      const child = spawn(process.execPath, [main, 'up'], { env, stdio: 'ignore' });
      await sleep(killAfterMs);
      child.kill('SIGKILL');
      if (killAfterMs > 1_500) {
        await bringUp();
        expect(await ailing(), `killed after ${killAfterMs} ms`).toEqual([]);
      }
      const namespaces = await hostNamespaces(lab).catch(() => new Set<string>());
      await ok('down');
      expect(await leftovers(lab, namespaces, contextFile), `killed after ${killAfterMs} ms`).toEqual([]);
    }
  });
});
