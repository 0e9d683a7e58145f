// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Disk, LockedDisk } from './disks.js';
import type { RbdDisk } from './rbd.js';
import { LabError } from './errors.js';
import { readIfThere, writeWhole } from './files.js';
import type { HostLayout, Lab } from './layout.js';
import { machineType } from './libvirtd.js';
import { run } from './shell.js';

/**
 * Rewrites `dirtyMib` MiB round and round, `dirtyMibPerSecond` at a time; `counter` dirties next to nothing;
 * `generation` writes each count to its disk (`openDisk`), too, and has some memory that is not empty.
 */
export type GuestKind =
  | { kind: 'counter' }
  | { kind: 'dirty'; dirtyMib: number; dirtyMibPerSecond: number }
  | { kind: 'generation'; disk: Disk | LockedDisk | RbdDisk };

export type Guest = GuestKind & {
  name: string;
  uuid?: string;
  /** What it needs and 16 MiB unless told. */
  memoryMib?: number;
};

const ticksPerSecond = 1_193_182 / 65_536;
const pagesPerMib = 256;
const generationMib = 24;
const floppyBytes = 1_474_560;

const sourceOf = (guest: GuestKind) => `${guest.kind}.S`;

function symbolsOf(guest: GuestKind): Record<string, number> {
  switch (guest.kind) {
    case 'counter':
      return {};
    case 'dirty':
      return {
        DIRTY_MIB: guest.dirtyMib,
        PAGES_PER_TICK: Math.max(1, Math.round((guest.dirtyMibPerSecond * pagesPerMib) / ticksPerSecond)),
      };
    case 'generation':
      return { MEMORY_MIB: generationMib };
  }
}

function imageOf(lab: Lab, guest: GuestKind): string {
  const name = guest.kind === 'dirty' ? `dirty-${guest.dirtyMib}-${guest.dirtyMibPerSecond}` : guest.kind;
  return join(lab.sharedDir, 'guests', `${name}.img`);
}

/** What a guest of this kind has beside the BIOS and itself, in MiB. */
function memoryBeside(guest: GuestKind): number {
  switch (guest.kind) {
    case 'counter':
      return 0;
    case 'dirty':
      return guest.dirtyMib;
    case 'generation':
      return generationMib;
  }
}

/** Storage that both hosts reach: libvirt refuses to move a guest with a disk on what only one of them has. */
function diskXml(guest: GuestKind): string {
  if (guest.kind !== 'generation') return '';
  const { disk } = guest;
  if ('file' in disk) {
    return `
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw' cache='none'/>
      <source file='${disk.file}'/>
      <target dev='hda' bus='ide'/>
    </disk>`;
  }
  if ('image' in disk) {
    return `
    <disk type='network' device='disk'>
      <driver name='qemu' type='raw' cache='none'/>
      <auth username='${disk.user}'>
        <secret type='ceph' uuid='${disk.secret}'/>
      </auth>
      <source protocol='rbd' name='${disk.image}'>
        <host name='${disk.monitor.host}' port='${disk.monitor.port}'/>
      </source>
      <target dev='hda' bus='ide'/>
    </disk>`;
  }
  return `
    <disk type='network' device='disk'>
      <driver name='qemu' type='raw' cache='none'/>
      <source protocol='nbd'>
        <host transport='unix' socket='${disk.socket}'/>
      </source>
      <target dev='hda' bus='ide'/>
    </disk>`;
}

/** Assembles a guest into a floppy image that every host sees, unless it is there. Returns its path. */
export async function ensureImage(lab: Lab, guest: GuestKind): Promise<string> {
  const image = imageOf(lab, guest);
  if (readIfThere(image) !== undefined) return image;
  const sources = join(lab.checkout, 'deploy/lab/guests');
  const work = mkdtempSync(join(tmpdir(), 'lockstep-guest-'));
  try {
    const symbols = Object.entries(symbolsOf(guest)).flatMap(([name, value]) => ['--defsym', `${name}=${value}`]);
    const [object, sector] = [join(work, 'guest.o'), join(work, 'guest.bin')];
    await run('as', ['--32', '-I', sources, ...symbols, '-o', object, join(sources, sourceOf(guest))]);
    await run('ld', ['-m', 'elf_i386', '--oformat', 'binary', '-Ttext', '0x7c00', '-o', sector, object]);
    const code = readFileSync(sector);
    if (code.length !== 512) throw new LabError(`${sourceOf(guest)} makes ${code.length} bytes; a boot sector has 512`);
    writeWhole(image, Buffer.concat([code, Buffer.alloc(floppyBytes - code.length)]), 0o644);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return image;
}

export async function ensureImages(lab: Lab): Promise<void> {
  await ensureImage(lab, { kind: 'counter' });
}

/** Where a guest's serial output is as the host sees it: the same on every host. */
const serialPath = (name: string) => `/var/log/libvirt/serial/${name}.log`;

/** Where it is from outside: one file per host, so two that grow are two copies of the guest. */
export const serialFile = (host: HostLayout, name: string) => join(host.dir, 'libvirt/log/serial', `${name}.log`);

/** The domain XML of a guest. Its image must be there (`ensureImage`) before it is started. */
export function guestXml(lab: Lab, guest: Guest): string {
  if (!/^[A-Za-z0-9._-]+$/.test(guest.name)) throw new LabError(`"${guest.name}" is no name for a guest`);
  const memoryMib = guest.memoryMib ?? memoryBeside(guest) + 16;
  return `<domain type='qemu'>
  <name>${guest.name}</name>
  <uuid>${guest.uuid ?? randomUUID()}</uuid>
  <memory unit='MiB'>${memoryMib}</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='${machineType}'>hvm</type>
    <boot dev='fd'/>
  </os>
  <features><acpi/></features>
  <clock offset='utc'/>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='floppy'>
      <driver name='qemu' type='raw'/>
      <source file='${imageOf(lab, guest)}'/>
      <target dev='fda' bus='fdc'/>
      <readonly/>
    </disk>${diskXml(guest)}
    <controller type='usb' model='none'/>
    <serial type='file'>
      <source path='${serialPath(guest.name)}' append='on'/>
      <target port='0'/>
    </serial>
    <memballoon model='none'/>
  </devices>
</domain>
`;
}
