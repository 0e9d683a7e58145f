// SPDX-License-Identifier: Apache-2.0
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { systemClock } from '@lockstep/services/platform/clock/system.js';
import { createIpmiBmc } from '@lockstep/services/platform/power/ipmi.js';
import { BmcError, type Bmc } from '@lockstep/services/platform/power/power.js';
import { createSimulatedBmc } from '@lockstep/services/platform/power/simulated.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freePort, IpmiSim, PASSWORD, USER } from './power.sim.js';

const GUID = '00112233445566778899aabbccddeeff';
const CALL = { deadlineMs: 20_000 };
const SHORT_CALL = { deadlineMs: 1_500 };

/** One host and its BMC, whatever it is made of. */
interface Rig {
  start(): Promise<void>;
  end(): void;
  bmc(): Bmc;
  wrongPassword(): Bmc;
  dead(): Promise<Bmc>;
  hang(): void;
  goOn(): void;
}

const sim = new IpmiSim();
const ipmiAt = (port: number, password = PASSWORD): Bmc =>
  createIpmiBmc({ address: '127.0.0.1', port, username: USER, password, cipherSuite: 3 }, systemClock);
const ipmi: Rig = {
  start: async () => {
    await sim.start(GUID);
    await answering(ipmiAt(sim.port));
  },
  end: () => {
    sim.end();
  },
  bmc: () => ipmiAt(sim.port),
  wrongPassword: () => ipmiAt(sim.port, 'wrong-battery-16'),
  dead: async () => ipmiAt(await freePort()),
  hang: () => {
    sim.hang();
  },
  goOn: () => {
    sim.goOn();
  },
};

const fake = createSimulatedBmc({ clock: systemClock, name: 'host', guid: GUID });
const fakeIn = (mode: typeof fake.mode): Bmc => {
  const other = createSimulatedBmc({ clock: systemClock, name: 'host', guid: GUID });
  other.mode = mode;
  return other;
};
const simulated: Rig = {
  start: () => Promise.resolve(),
  end: () => undefined,
  bmc: () => fake,
  wrongPassword: () => fakeIn('wrong-password'),
  dead: () => Promise.resolve(fakeIn('dead')),
  hang: () => {
    fake.mode = 'hung';
  },
  goOn: () => {
    fake.mode = 'up';
  },
};

/** A BMC that has only just been started may not listen yet. */
async function answering(bmc: Bmc): Promise<void> {
  for (let tries = 1; tries <= 3; tries += 1) {
    if ((await bmc.powerState(CALL).catch(() => undefined)) !== undefined) return;
  }
  throw new Error('the BMC does not answer');
}

async function failure(call: Promise<unknown>): Promise<BmcError> {
  const error: unknown = await call.then(() => 'it succeeded', (thrown: unknown) => thrown);
  if (!(error instanceof BmcError)) throw new Error(`no BmcError: ${String(error)}`);
  expect(`${error.message} ${String(error.stack)}`).not.toMatch(/battery/);
  return error;
}

describe.each([
  ['real, by ipmitool and ipmi_sim', ipmi],
  ['simulated', simulated],
])('a BMC, %s', (_, rig) => {
  beforeAll(() => rig.start());
  afterAll(() => {
    rig.end();
  });

  it('says whether the power is on, what the user may, and whose it is', async () => {
    const bmc = rig.bmc();
    expect(await bmc.powerState(CALL)).toBe('on');
    expect(['operator', 'administrator']).toContain(await bmc.privilege(CALL));
    expect(await bmc.guid(CALL)).toBe(GUID);
  });

  it('ancestor 17: switches the power and reads back what the real tool says of it; one that is off already without complaint', async () => {
    const bmc = rig.bmc();
    await bmc.powerOff(CALL);
    expect(await bmc.powerState(CALL)).toBe('off');
    await bmc.powerOff(CALL);
    expect(await bmc.powerState(CALL)).toBe('off');
    await bmc.powerOn(CALL);
    expect(await bmc.powerState(CALL)).toBe('on');
  });

  it('refuses a wrong password as such', async () => {
    expect((await failure(rig.wrongPassword().powerState(CALL))).kind).toBe('wrong-credentials');
    expect((await failure(rig.wrongPassword().powerOff(CALL))).kind).toBe('wrong-credentials');
    expect(await rig.bmc().powerState(CALL)).toBe('on');
  });

  it('that nobody runs is unreachable', async () => {
    expect((await failure((await rig.dead()).powerState(CALL))).kind).toBe('unreachable');
  });

  it('that hangs costs its limit and no more, and answers when it goes on', async () => {
    rig.hang();
    try {
      expect((await failure(rig.bmc().powerState(SHORT_CALL))).kind).toBe('timeout');
    } finally {
      rig.goOn();
    }
    expect(await rig.bmc().powerState(CALL)).toBe('on');
  });
});

/** Command lines of the processes that this one started. */
function commandLines(): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        return [readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')];
      } catch {
        return []; // it has ended
      }
    });
}

describe('ipmitool', () => {
  it('is killed at the limit, and shows its password to nobody meanwhile', async () => {
    const port = await freePort();
    const mine = (): string[] => commandLines().filter((line) => line.includes('ipmitool') && line.includes(`-p ${port} `));
    const call = failure(ipmiAt(port).powerState(SHORT_CALL));
    const seen: string[] = [];
    const done = call.then(() => true);
    while (!(await Promise.race([done, pause(50, false)]))) seen.push(...mine());
    expect(seen.length).toBeGreaterThan(0);
    expect(seen.filter((line) => line.includes(PASSWORD))).toEqual([]);
    expect((await call).kind).toBe('timeout');
    for (let tries = 0; tries < 40 && mine().length > 0; tries += 1) await pause(50);
    expect(mine()).toEqual([]);
  });

  it('that is not there is a failure with its name', async () => {
    const target = { address: '127.0.0.1', port: 9, username: USER, password: PASSWORD, cipherSuite: 3 };
    const { kind, message } = await failure(
      createIpmiBmc({ ...target, program: 'ipmitool-that-is-not-there' }, systemClock).powerState(CALL),
    );
    expect(kind).toBe('failed');
    expect(message).toBe('ipmitool-that-is-not-there cannot be run (ENOENT)');
  });
});
