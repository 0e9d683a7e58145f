// SPDX-License-Identifier: Apache-2.0
import { expect, it } from 'vitest';
import { needsOf } from './devices.js';

it('reads bridges, RBD images and files it alone writes to, each once, and nothing else', () => {
  const xml = `<domain><name>x</name><devices>
    <interface type='bridge'><source bridge='br7'/></interface>
    <interface type="bridge"><source bridge="br7"/></interface>
    <interface type='bridge'><source bridge='br8'/></interface>
    <interface type='network'><source network='default' bridge='virbr0'/></interface>
    <disk type='network'><source protocol='rbd' name='vms/disk1'><host name='h1'/></source></disk>
    <disk type='network'><source protocol='nbd' name='other'/></disk>
    <disk type='file'><source file='/images/x'/></disk>
    <disk type='file' device='floppy'><source file='/images/boot'/><readonly/></disk>
    <disk type='file' device='cdrom'><source file='/images/cd'/></disk>
    <disk type='file' device='disk'><source file='/images/shared'/><shareable/></disk>
  </devices></domain>`;
  expect(needsOf(xml)).toEqual({ bridges: ['br7', 'br8'], rbdImages: ['vms/disk1'], lockedFiles: ['/images/x'] });
  expect(needsOf('<domain/>')).toEqual({ bridges: [], rbdImages: [], lockedFiles: [] });
});
