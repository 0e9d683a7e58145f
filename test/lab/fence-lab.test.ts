// SPDX-License-Identifier: Apache-2.0
// What fencing is tested against: BMCs that fail as BMCs do, power that kills, a watchdog, two networks. All by the
// real client, so that nothing later is true of the lab alone.
import { appendFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  bmcMode,
  bmcModeNames,
  chassisPower,
  crashHost,
  down,
  hostNamed,
  isBooted,
  isPoweredOn,
  layout,
  processesOf,
  run,
  setBmcMode,
  startHost,
  status,
  until,
  up,
  watchdogDevice,
  watchdogSeconds,
  type BmcMode,
  type DeviceName,
} from '../../deploy/lab/api.js';

// An instance of its own, without services: nobody but these tests switches anything.
const home = mkdtempSync(join(tmpdir(), 'lockstep-fence-lab-'));
const env = { ...process.env, LOCKSTEP_LAB: process.env['LOCKSTEP_TEST_LAB'] ?? 'lt7', XDG_CONFIG_HOME: home };
const lab = layout(env);
const h1 = hostNamed(lab, 'h1');
const h2 = hostNamed(lab, 'h2');
const h3 = hostNamed(lab, 'h3');
const BOOT_LIMIT_MS = 120_000;

/**
 * As it was at the beginning; its parts may still be starting. The other hosts are left alone: what takes long happens
 * on them meanwhile, and with them off there is no quorum that h2's Consul could wait for.
 */
async function restore(): Promise<void> {
  await setBmcMode(lab, h2, 'up');
  if (!isPoweredOn(h2)) await chassisPower(h2, 'on');
  else if (!isBooted(h2)) startHost(lab, h2).catch(() => undefined);
  await until('h2 is booted', BOOT_LIMIT_MS, () => Promise.resolve(isBooted(h2) ? undefined : 'not yet'));
}

/** What takes long, on hosts of its own; each is awaited by the test that tells of it. */
let slowly: { slow: Promise<unknown>; bite: Promise<unknown> } | undefined;

beforeAll(async () => {
  await down(lab, { force: true, env });
  await up(lab, { env, withServices: false });
});

afterEach(restore);

afterAll(async () => {
  await Promise.allSettled(Object.values(slowly ?? {}));
  await down(lab, { force: true, env });
  rmSync(home, { recursive: true, force: true });
});

/** `on`, `off`, or `silent` where ipmitool got no session. */
async function read(device: DeviceName = 'bmc', host = h2): Promise<string> {
  try {
    return (await chassisPower(host, 'status', device)).replace('Chassis Power is ', '');
  } catch {
    return 'silent';
  }
}

/** Whether ipmitool was told that the command is taken. */
async function tell(action: 'on' | 'off', device: DeviceName = 'bmc', host = h2): Promise<boolean> {
  return chassisPower(host, action, device).then(
    () => true,
    () => false,
  );
}

const runs = async (host = h2): Promise<boolean> => (await processesOf(host)).length > 0;

async function booted(): Promise<void> {
  await until('h2 is back with all its parts', BOOT_LIMIT_MS, async () => {
    const found = (await status(lab)).find(({ host }) => host === 'h2');
    const idle = ['consul', 'libvirtd'].filter((part) => found?.parts[part] !== 'running');
    return idle.length === 0 ? undefined : `not running: ${idle.join(', ')}`;
  });
}

describe('power', () => {
  it('off kills every process of the host, a frozen one too; on boots it', async () => {
    const [victim] = await processesOf(h2);
    if (victim === undefined) throw new Error('nothing runs on h2');
    process.kill(victim, 'SIGSTOP');
    expect(await tell('off')).toBe(true);
    expect(await processesOf(h2)).toEqual([]);
    expect(await read()).toBe('off');
    expect(await tell('on')).toBe(true);
    await booted();
    expect(await read()).toBe('on');
  });

  it('off at a host that is off is taken, and changes nothing', async () => {
    expect([await tell('off'), await tell('off'), await read()]).toEqual([true, true, 'off']);
  });
});

describe('a BMC', () => {
  beforeAll(() => {
    slowly = { slow: switchSlowly(), bite: letTheWatchdogBite() };
    for (const each of Object.values(slowly)) each.catch(() => undefined);
  });

  interface Expected {
    /** What it says before anything. */
    before: string;
    /** Whether it takes the command. */
    takes: boolean;
    /** What it says afterwards. */
    after: string;
    /** Whether the host runs on. */
    runsOn: boolean;
  }

  const cases: [BmcMode, Expected][] = [
    ['dead', { before: 'silent', takes: false, after: 'silent', runsOn: true }],
    ['wrong-password', { before: 'silent', takes: false, after: 'silent', runsOn: true }],
    ['accepts-only', { before: 'on', takes: true, after: 'on', runsOn: true }],
    ['lies-off', { before: 'on', takes: true, after: 'off', runsOn: true }],
    ['stuck-on', { before: 'on', takes: true, after: 'on', runsOn: false }],
    ['already-off', { before: 'off', takes: true, after: 'off', runsOn: false }],
    ['watchdog', { before: 'silent', takes: false, after: 'silent', runsOn: true }],
    ['dies-with-host', { before: 'on', takes: true, after: 'off', runsOn: false }],
  ];

  it.each(cases)('in mode %s answers and acts as that says', async (mode, expected) => {
    await setBmcMode(lab, h2, mode);
    const before = await read();
    // One that is silent is not asked three times: each time ipmitool takes its seconds.
    const [takes, after] = before === 'silent' ? [false, 'silent'] : [await tell('off'), await read()];
    expect({ before, takes, after, runsOn: await runs() }).toEqual(expected);
    expect(isPoweredOn(h2)).toBe(expected.runsOn);
  });

  it('in mode slow is silent after the command, and has switched when it answers again', async () => {
    expect(await slowly?.slow).toEqual({ before: 'on', takes: false, runsOn: true, then: 'silent', runsLater: false });
  });

  it('in mode drops is silent at times, and does as it is told when it is asked often enough', async () => {
    await setBmcMode(lab, h2, 'drops');
    const answers: string[] = [];
    await until('it answers and is silent', 120_000, async () => {
      answers.push(await read());
      return answers.includes('on') && answers.includes('silent') ? undefined : answers.join(', ');
    });
    await until('it switches off', 120_000, async () => ((await tell('off')) ? undefined : 'not taken'));
    expect(await runs()).toBe(false);
  });

  it('in mode dies-with-host is gone when its host has crashed', async () => {
    await setBmcMode(lab, h2, 'dies-with-host');
    await crashHost(h2);
    expect(await read()).toBe('silent');
  });

  it('in mode second-device leaves the switching to the other one', async () => {
    await setBmcMode(lab, h2, 'second-device');
    expect([await read(), await read('bmc2')]).toEqual(['silent', 'on']);
    expect([await tell('off', 'bmc2'), await read('bmc2'), await runs()]).toEqual([true, 'off', false]);
  });

  it('in mode back-after-60-s is silent, and comes back after the time it was given', async () => {
    await setBmcMode(lab, h2, 'back-after-60-s');
    const returning = (await run('ps', ['-e', '-o', 'args'])).split('\n').filter((line) => line.includes('bmc h2 up'));
    expect(returning).toEqual([expect.stringMatching(/--after 60$/)]);
    expect(await read()).toBe('silent');
    const verb = [join(lab.checkout, 'deploy/dist/lab/main.js'), 'bmc', 'h2', 'up', '--after', '1'];
    await run(process.execPath, verb, { env, timeoutMs: 60_000 });
    expect([await read(), bmcMode(h2)]).toEqual(['on', 'up']);
  });

  it('has no mode that is not looked at here', () => {
    const others = ['up', 'slow', 'drops', 'second-device', 'back-after-60-s'];
    expect([...cases.map(([mode]) => mode as string), ...others].sort()).toEqual([...bmcModeNames].sort());
  });
});

describe('the watchdog', () => {
  it('kills the host when it was armed and is not fed, and not before', async () => {
    expect(await slowly?.bite).toEqual({ aliveWhileFed: true, aliveAfterMagicClose: true, powerAfterBite: true });
  });
});

async function switchSlowly(): Promise<object> {
  await setBmcMode(lab, h1, 'slow');
  const before = await read('bmc', h1);
  const takes = await tell('off', 'bmc', h1);
  const [runsOn, then] = [await runs(h1), await read('bmc', h1)];
  await until('h1 says off', 120_000, async () => ((await read('bmc', h1)) === 'off' ? undefined : 'it does not'));
  return { before, takes, runsOn, then, runsLater: await runs(h1) };
}

async function letTheWatchdogBite(): Promise<object> {
  const feed = (byte: string): void => {
    appendFileSync(watchdogDevice(h3), byte);
  };
  const limitMs = watchdogSeconds * 1_000;
  feed('\0');
  feed('V');
  await sleep(limitMs + 2_000);
  const aliveAfterMagicClose = await runs(h3);
  feed('\0');
  await sleep(limitMs * 0.6);
  feed('\0');
  await sleep(limitMs * 0.6);
  const aliveWhileFed = await runs(h3);
  await until('the watchdog bites', 60_000, async () => ((await runs(h3)) ? 'h3 still runs' : undefined));
  return { aliveWhileFed, aliveAfterMagicClose, powerAfterBite: isPoweredOn(h3) };
}
