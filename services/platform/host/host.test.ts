// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../clock/system.js';
import type { Host } from './host.js';
import { createProcHost, parseLoad, parseMeminfo } from './proc.js';
import { createSimulatedHost } from './simulated.js';

const GIB = 1024n ** 3n;
const MIB = 1024n ** 2n;

const hosts: [string, Host][] = [
  ['of /proc', createProcHost({ clock: systemClock })],
  ['simulated', createSimulatedHost({ totalBytes: 8n * GIB, usedByGuestsBytes: () => 3n * GIB, load: () => 0.5 })],
];

describe.each(hosts)('a host %s', (_kind, host) => {
  it('has figures that fit together', async () => {
    const { totalBytes, freeBytes, availableBytes, hugepagePools } = await host.memory();
    for (const pool of hugepagePools) {
      expect(pool.freeBytes).toBeLessThanOrEqual(pool.totalBytes);
      expect(pool.totalBytes).toBeLessThanOrEqual(totalBytes);
    }
    expect(totalBytes).toBeGreaterThan(0n);
    expect(freeBytes).toBeLessThanOrEqual(totalBytes);
    expect(availableBytes).toBeLessThanOrEqual(totalBytes);
    expect(await host.load()).toBeGreaterThanOrEqual(0);
  });
});

it('reads what the kernel writes, and says what is missing', () => {
  const text = 'MemTotal:       16316412 kB\nMemFree:         1000000 kB\nMemAvailable:    9000000 kB\n';
  expect(parseMeminfo(text)).toEqual({
    totalBytes: 16_316_412n * 1024n,
    freeBytes: 1_024_000_000n,
    availableBytes: 9_216_000_000n,
  });
  expect(() => parseMeminfo('MemTotal: 1 kB\n')).toThrow('no MemFree');
  expect(parseLoad('0.52 0.58 0.59 1/467 12345\n')).toBe(0.52);
  expect(() => parseLoad('')).toThrow('no figure');
});

it('a simulated host is never below nothing', async () => {
  const host = createSimulatedHost({ totalBytes: GIB, usedByGuestsBytes: () => 5n * GIB });
  expect((await host.memory()).freeBytes).toBe(0n);
});

it('counts huge pages of every size, and none where the kernel has none', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'lockstep-hugepages-'));
  try {
    for (const [pool, pages, free] of [['hugepages-2048kB', 512, 100], ['hugepages-1048576kB', 4, 1], ['hugepages-64kB', 0, 0]] as const) {
      mkdirSync(join(folder, pool));
      writeFileSync(join(folder, pool, 'nr_hugepages'), `${String(pages)}\n`);
      writeFileSync(join(folder, pool, 'free_hugepages'), `${String(free)}\n`);
    }
    const meminfo = 'MemTotal: 16316412 kB\nMemFree: 1000000 kB\nMemAvailable: 9000000 kB\nHugepagesize:       2048 kB\n';
    writeFileSync(join(folder, 'meminfo'), meminfo);
    const options = { clock: systemClock, procFolder: folder };
    const { hugepagePools } = await createProcHost({ ...options, hugepagesFolder: folder }).memory();
    expect(hugepagePools).toEqual([
      { pageBytes: GIB, totalBytes: 4n * GIB, freeBytes: GIB, isDefault: false },
      { pageBytes: 2n * MIB, totalBytes: GIB, freeBytes: 200n * MIB, isDefault: true },
    ]);
    const without = await createProcHost({ ...options, hugepagesFolder: join(folder, 'none') }).memory();
    expect(without.hugepagePools).toEqual([]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
