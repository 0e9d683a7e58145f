// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { touchedIn } from './libvirt-memory.js';

const MIB = 2n ** 20n;

interface Mapping {
  perms?: string;
  sizeMib: number;
  rssMib?: number;
  privateHugeMib?: number;
}

/** As the kernel prints it, with some of the lines that nobody asks for. */
function smapsOf(mappings: readonly Mapping[]): string {
  return mappings
    .map(({ perms = 'rw-p', sizeMib, rssMib = 0, privateHugeMib = 0 }, index) =>
      [
        `7f${index.toString(16).padStart(2, '0')}00000000-7f${index.toString(16).padStart(2, '0')}08000000 ${perms} 00000000 00:00 0 `,
        `Size:           ${String(sizeMib * 1024)} kB`,
        'KernelPageSize:        4 kB',
        `Rss:              ${String(rssMib * 1024)} kB`,
        'Shared_Hugetlb:        0 kB',
        `Private_Hugetlb: ${String(privateHugeMib * 1024)} kB`,
        'VmFlags: rd wr mr mw me ac sd ',
        '',
      ].join('\n'),
    )
    .join('');
}

describe('the memory that a guest has touched', () => {
  it('is what the mapping of its memory holds, and nothing of what QEMU needs for itself', () => {
    const smaps = smapsOf([
      { perms: 'r-xp', sizeMib: 6, rssMib: 5 },
      { perms: 'rwxp', sizeMib: 1024, rssMib: 70 },
      { sizeMib: 30, rssMib: 25 },
      { sizeMib: 128, rssMib: 9 },
      { sizeMib: 16, rssMib: 2 },
    ]);
    expect(touchedIn(smaps, 128n * MIB)).toBe(9n * MIB);
  });

  it('adds up the memory of several NUMA nodes, and counts huge pages', () => {
    const smaps = smapsOf([{ sizeMib: 1024, rssMib: 300 }, { perms: 'rw-s', sizeMib: 1024, privateHugeMib: 512 }, { sizeMib: 64, rssMib: 64 }]);
    expect(touchedIn(smaps, 2048n * MIB)).toBe(812n * MIB);
  });

  it('is not guessed where the mappings are smaller than its memory', () => {
    expect(touchedIn(smapsOf([{ sizeMib: 64, rssMib: 64 }]), 128n * MIB)).toBeUndefined();
    expect(touchedIn('', 128n * MIB)).toBeUndefined();
  });
});
