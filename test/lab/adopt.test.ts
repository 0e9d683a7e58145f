// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from 'node:crypto';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { attemptVirsh, continuityOf, ensureImage, guestXml, hostNamed, until, virsh } from '../../deploy/lab/api.js';
import { adopted, removeGuests, withXmlFile } from './guest.js';
import { lab, lockstep, meshUp, ok, shown } from './mesh.js';

// A guest that somebody made with virsh comes under the cluster's care while it counts.

beforeAll(meshUp);
afterEach(removeGuests);

const REPORT_LIMIT_MS = 30_000;

describe('a guest that was made by hand', () => {
  it('is shown, left alone, adopted while it counts, and moves with its memory', async () => {
    const name = `byhand-${randomUUID().slice(0, 6)}`;
    const id = randomUUID();
    const host = hostNamed(lab, 'h1');
    await ensureImage(lab, { kind: 'counter' });
    const xml = guestXml(lab, { kind: 'counter', name, uuid: id });
    await withXmlFile(xml, (file) => virsh(host, ['define', file]));
    await virsh(host, ['start', id]);
    await virsh(host, ['autostart', id]);
    const guest = adopted(name, id, xml);
    await guest.countsOn();

    await until('its node reports it', REPORT_LIMIT_MS, async () => {
      const { vms = [] } = await shown<{ vms?: { name: string; status: { state: string } }[] }>('node', 'show', 'h1');
      return vms.find((vm) => vm.name === name)?.status.state === 'VM_STATE_UNMANAGED' ? undefined : 'not yet';
    });
    expect(await ok('vm', 'list')).not.toContain(name);
    await guest.runsOnlyOn('h1');

    const elsewhere = await lockstep('vm', 'adopt', name, '--node', 'h2');
    expect(elsewhere.code).not.toBe(0);
    expect(elsewhere.stderr).toContain(`there is no domain ${name} on h2`);
    expect(await guest.epochsOn('h1')).toEqual({ live: undefined, persistent: undefined });

    const pid = (await virsh(host, ['domid', id])).trim();
    await ok('vm', 'adopt', name, '--node', 'h1');
    const { placement, desired } = await shown<{ placement: { node: string; epoch: string }; desired: string }>('vm', 'show', name);
    expect({ node: placement.node, desired }).toEqual({ node: 'h1', desired: 'VM_DESIRED_RUNNING' });
    expect(await guest.epochsOn('h1')).toEqual({ live: placement.epoch, persistent: placement.epoch });
    expect((await virsh(host, ['domid', id])).trim()).toBe(pid);
    expect(await virsh(host, ['dominfo', id])).toMatch(/^Autostart: +disable$/m);
    await guest.countsOn();

    await ok('vm', 'migrate', name, 'h2', '--force-live', '--wait');
    await guest.runsOnlyOn('h2');
    await guest.countsOn();
    expect(continuityOf(lab, name)).toMatchObject({ ok: true, moves: 1 });
    // Nothing of it is left where it was made.
    expect((await attemptVirsh(host, ['dominfo', id])).code).not.toBe(0);
  });

  it('that libvirt forgets at its stop keeps its definition once it is adopted', async () => {
    const name = `transient-${randomUUID().slice(0, 6)}`;
    const id = randomUUID();
    const host = hostNamed(lab, 'h2');
    await ensureImage(lab, { kind: 'counter' });
    const xml = guestXml(lab, { kind: 'counter', name, uuid: id });
    await withXmlFile(xml, (file) => virsh(host, ['create', file]));
    const guest = adopted(name, id, xml);
    await guest.countsOn();
    expect(await virsh(host, ['dominfo', id])).toMatch(/^Persistent: +no$/m);
    await until('it is adopted', REPORT_LIMIT_MS, async () => {
      const { code, stderr } = await lockstep('vm', 'adopt', id, '--node', 'h2');
      return code === 0 ? undefined : stderr.trim();
    });
    await until('it is defined', REPORT_LIMIT_MS, async () =>
      /^Persistent: +yes$/m.test(await virsh(host, ['dominfo', id])) ? undefined : 'not yet',
    );
    const { placement } = await shown<{ placement: { epoch: string } }>('vm', 'show', name);
    expect(await guest.epochsOn('h2')).toEqual({ live: placement.epoch, persistent: placement.epoch });
    await guest.countsOn();
  });
});
