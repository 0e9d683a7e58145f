// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  awaitPart,
  continuityOf,
  down,
  ensureImage,
  type GuestKind,
  guestXml,
  hostNamed,
  type HostLayout,
  killPart,
  type Lab,
  layout,
  lockedDisk,
  partNamed,
  signalPart,
  startPart,
  up,
  virsh,
} from '../../deploy/lab/api.js';
import { systemClock } from '../../services/platform/clock/system.js';
import { createLibvirtHypervisor } from '../../services/platform/hypervisor/libvirt.js';
import type { TestGuest, TestHost, TestRig } from './hypervisor.rig.js';

const DIRTY = { dirtyMib: 4, dirtyMibPerSecond: 8 };

/** Two hosts of a lab of its own, with real libvirt daemons and real QEMU. Throws where the machine cannot have it. */
export async function startLibvirtRig(): Promise<TestRig> {
  const home = mkdtempSync(join(tmpdir(), 'lockstep-hypervisor-'));
  const name = process.env['LOCKSTEP_CONTRACT_LAB'] ?? 'hv41';
  const env = { ...process.env, LOCKSTEP_LAB: name, XDG_CONFIG_HOME: home };
  const lab = layout(env);
  await up(lab, { withServices: false, env });
  return {
    source: testHost(lab, hostNamed(lab, 'h1')),
    target: testHost(lab, hostNamed(lab, 'h2')),
    xmlOf: async (guest) => {
      const kind = kindOf(lab, guest);
      await ensureImage(lab, kind);
      return guestXml(lab, { name: guest.name, uuid: guest.uuid, ...kind });
    },
    countOf: (guest) => {
      const continuity = continuityOf(lab, guest.name);
      return { last: continuity.last, fault: continuity.ok ? undefined : continuity.message };
    },
    dispose: async () => {
      await down(lab, { env });
      rmSync(home, { recursive: true, force: true });
    },
  };
}

function kindOf(lab: Lab, { name, kind }: TestGuest): GuestKind {
  switch (kind) {
    case 'counter':
      return { kind };
    case 'dirty':
      return { kind, ...DIRTY };
    case 'writer':
      return { kind: 'generation', disk: lockedDisk(lab, name) };
  }
}

function testHost(lab: Lab, host: HostLayout): TestHost {
  const libvirtd = partNamed('libvirtd');
  const signal = (part: string, kind: 'SIGSTOP' | 'SIGCONT'): Promise<void> => {
    signalPart(host, part, kind);
    return Promise.resolve();
  };
  const processOf = (guest: TestGuest): string => `vm/${guest.name}`;
  return {
    name: host.name,
    connect: () =>
      createLibvirtHypervisor({ clock: systemClock, socketPath: host.libvirtSocket, uri: 'qemu:///system' }),
    pause: async (guest) => {
      await virsh(host, ['suspend', guest.uuid]);
    },
    setAutostart: async ({ uuid }) => {
      await virsh(host, ['autostart', uuid]);
    },
    autostarts: async ({ uuid }) => /^Autostart: +enable$/m.test(await virsh(host, ['dominfo', uuid])),
    freeze: (guest) => signal(processOf(guest), 'SIGSTOP'),
    thaw: (guest) => signal(processOf(guest), 'SIGCONT'),
    killDaemon: () => killPart(host, libvirtd.name),
    startDaemon: async () => {
      await startPart(lab, host, libvirtd);
      await awaitPart(lab, host, libvirtd);
    },
    hangDaemon: () => signal(libvirtd.name, 'SIGSTOP'),
    continueDaemon: () => signal(libvirtd.name, 'SIGCONT'),
  };
}
