// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { liveObstacles } from './live-obstacles.js';

const domain = (devices: string, rest = ''): string =>
  `<domain type='kvm'><name>web</name><memory>1024</memory>${rest}<devices>${devices}</devices></domain>`;

describe('what a live move cannot take along', () => {
  it.each([
    ["<hostdev mode='subsystem' type='pci'><source/></hostdev>", /pci device .* passed through/],
    ["<interface type='hostdev'><mac address='52:54:00:00:00:01'/></interface>", /52:54:00:00:00:01 .* passed through/],
    ["<interface type='vdpa'><source dev='/dev/vhost-vdpa-0'/></interface>", /vDPA/],
    ["<disk type='nvme' device='disk'><source/></disk>", /NVMe/],
    ["<disk type='vhostuser' device='disk'><source/></disk>", /vhost-user/],
    ["<filesystem type='mount'><driver type='virtiofs'/></filesystem>", /folder .* \(virtiofs\)/],
    ["<filesystem type='mount'><source dir='/srv'/></filesystem>", /folder .* \(9p\)/],
    ["<shmem name='ring'><model type='ivshmem-plain'/></shmem>", /memory ring/],
    ["<memory model='virtio-pmem'><source/></memory>", /virtio-pmem/],
    ["<tpm model='tpm-crb'><backend type='passthrough'/></tpm>", /TPM/],
    ["<smartcard mode='host'/>", /smartcard/],
  ])('is %s', (device, told) => {
    expect(liveObstacles(domain(device))).toEqual([expect.stringMatching(told)]);
    expect(liveObstacles(domain(`${device}${device}`))).toHaveLength(1);
  });

  it.each([
    ["<cpu mode='host-passthrough' migratable='off'/>", /migratable/],
    ["<cpu mode='custom'><model>EPYC</model><feature policy='require' name='invtsc'/></cpu>", /invtsc/],
  ])('is %s', (cpu, told) => {
    expect(liveObstacles(domain('', cpu))).toEqual([expect.stringMatching(told)]);
  });

  it('is none of what moves', () => {
    const devices = [
      "<disk type='file' device='disk'><source file='/a'/></disk>",
      "<disk type='network' device='disk'><source protocol='rbd' name='vms/a'/></disk>",
      "<interface type='bridge'><source bridge='br0'/></interface>",
      "<interface type='hostdev'><teaming type='transient' persistent='ua-a'/></interface>",
      "<shmem name='ring' role='master'/>",
      "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>",
      "<smartcard mode='passthrough' type='spicevmc'/>",
      "<memory model='dimm'><target><size unit='MiB'>64</size></target></memory>",
    ];
    const cpu = "<cpu mode='host-model'><feature policy='disable' name='invtsc'/></cpu>";
    expect(liveObstacles(domain(devices.join(''), cpu))).toEqual([]);
  });
});
