// SPDX-License-Identifier: Apache-2.0
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  ceph,
  checkContinuity,
  chassisPower,
  crashHost,
  hostNamed,
  isBooted,
  isPoweredOn,
  rbdLocks,
  serialFile,
  signalCeph,
  startHost,
  until,
} from '../../deploy/lab/api.js';
import { readFileSync } from 'node:fs';
import { meshWithCeph, removeRbdGuests, startRbdGuest, type RbdGuest } from './ceph-mesh.js';
import { lab, lockstep, meshUp, ok, shown } from './mesh.js';

// A host that dies with a guest whose disk is on the storage cluster: its lock outlives it.

/** Six throws, its power, the release and a start, on a busy machine. */
const RECOVERY_LIMIT_MS = 300_000;
const FIRST_OF_SECOND_BOOT = 0x01000001;

interface ShownVm {
  placement: { node: string };
  status?: { state: string; reason?: string; detail?: string };
}

beforeAll(meshWithCeph);
afterEach(async () => {
  for (const host of lab.hosts) {
    if (!isPoweredOn(host)) await chassisPower(host, 'on');
    await until(`${host.name} boots`, 120_000, () => Promise.resolve(isBooted(host) ? undefined : 'not yet'));
    await startHost(lab, host);
  }
  await lockstep('fence', 'arm');
  await meshUp();
  await removeRbdGuests();
});
afterAll(() => lockstep('fence', 'arm'));

const vmOf = (guest: RbdGuest): Promise<ShownVm> => shown<ShownVm>('vm', 'show', guest.name);

/** A host on which nobody leads: its death costs no change of leaders. */
async function victimOf(): Promise<string> {
  const { leaders } = await shown<{ leaders: { name: string }[] }>('cluster', 'status');
  return lab.hosts.find(({ name }) => !leaders.some((leader) => leader.name === name))?.name ?? 'h3';
}

async function isIn(guest: RbdGuest, what: string, fits: (vm: ShownVm) => boolean): Promise<void> {
  await until(`${guest.name} ${what}`, RECOVERY_LIMIT_MS, async () => {
    const { code, stdout, stderr } = await lockstep('vm', 'show', guest.name, '-o', 'json');
    // Leaders may change meanwhile.
    if (code !== 0) return stderr.trim();
    const vm = JSON.parse(stdout) as ShownVm;
    expect(vm.status?.state).not.toBe('VM_STATE_ERROR');
    return fits(vm) ? undefined : `it is ${vm.status?.state ?? ''} on ${vm.placement.node}: ${vm.status?.detail ?? ''}`;
  });
}

const runsElsewhere = (guest: RbdGuest, victim: string): Promise<void> =>
  isIn(guest, 'runs elsewhere', ({ placement, status }) => placement.node !== victim && status?.state === 'VM_STATE_RUNNING');

const blocklist = (): Promise<string> => ceph(lab, ['ceph', 'osd', 'blocklist', 'ls']);

/** It read what its first life had written, writes on, and nobody else wrote meanwhile. */
async function writesOn(guest: RbdGuest, host: string): Promise<void> {
  const before = await guest.generation();
  await until(`${guest.name} writes`, 60_000, async () => {
    const { boot, count } = await guest.generation();
    return boot === 1 && count > before.count + 18 ? undefined : `boot ${String(boot)}, count ${String(count)}`;
  });
  const printed = readFileSync(serialFile(hostNamed(lab, host), guest.name), 'utf8');
  expect(checkContinuity([{ host, text: printed }], FIRST_OF_SECOND_BOOT)).toMatchObject({ ok: true });
}

describe('a host that dies with a guest on the storage cluster', () => {
  it('leaves its lock, which is broken with the proof alone; the guest goes on elsewhere from what it wrote', async () => {
    const victim = await victimOf();
    const guest = await startRbdGuest(victim);
    const [lock] = await rbdLocks(lab, guest.disk);
    if (lock === undefined) throw new Error('the guest has no lock');
    expect(lock.address.startsWith(`${hostNamed(lab, victim).addresses.a}:`)).toBe(true);

    await ok('fence', 'disarm', '--mode', 'freeze', '--reason', 'the proof is to come later');
    await crashHost(hostNamed(lab, victim));
    await isIn(guest, 'waits for the proof', ({ status }) => status?.state === 'VM_STATE_WAITING_FENCE');
    expect(await rbdLocks(lab, guest.disk)).toEqual([lock]);
    expect(await blocklist()).not.toContain(lock.address);
    expect((await guest.generation()).boot).toBe(0);

    await ok('fence', 'arm');
    await runsElsewhere(guest, victim);
    const { placement } = await vmOf(guest);
    await writesOn(guest, placement.node);
    expect(await blocklist()).toContain(lock.address);
    const locks = await rbdLocks(lab, guest.disk);
    expect(locks).toHaveLength(1);
    expect(locks[0]?.address.startsWith(`${hostNamed(lab, placement.node).addresses.a}:`)).toBe(true);
    const events = await ok('events', '--subject', `vms/${guest.id}`);
    expect(events).toMatch(new RegExp(`STORAGE_LOCKS_RELEASED.*${victim} is proven off.*broke the locks on ${guest.disk.image}`));

    // The host joins again: its storage is not shut to it, as only the client that died is.
    if (!isPoweredOn(hostNamed(lab, victim))) await chassisPower(hostNamed(lab, victim), 'on');
    await until(`${victim} boots`, 120_000, () => Promise.resolve(isBooted(hostNamed(lab, victim)) ? undefined : 'not yet'));
    await startHost(lab, hostNamed(lab, victim));
    await meshUp();
    const moved = await lockstep('vm', 'migrate', guest.name, victim, '--force-live', '--wait');
    expect(moved, moved.stderr).toMatchObject({ code: 0 });
    await guest.runsOnlyOn(victim);
    const before = await guest.generation();
    await until('it writes there', 60_000, async () => ((await guest.generation()).count > before.count ? undefined : 'not yet'));
    expect((await guest.generation()).boot).toBe(1);
  });

  it('and a storage cluster that does not answer makes the guest wait with that reason, never fail', async () => {
    const victim = await victimOf();
    const guest = await startRbdGuest(victim);
    signalCeph(lab, 'mon', 'SIGSTOP');
    try {
      await crashHost(hostNamed(lab, victim));
      await isIn(guest, 'waits for its storage', ({ status, placement }) =>
        status?.state === 'VM_STATE_WAITING_TARGET' && status.reason === 'STORAGE_UNAVAILABLE' && placement.node === victim);
    } finally {
      signalCeph(lab, 'mon', 'SIGCONT');
    }
    await runsElsewhere(guest, victim);
    await writesOn(guest, (await vmOf(guest)).placement.node);
  });
});
