// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import type { Domain, DomainState } from '../platform/hypervisor/hypervisor.js';
import { memoryRefusal, nodeFigures } from './figures.js';
import type { VmNotes } from './memory-document.js';

const GIB = 2n ** 30n;
const RUNNING: DomainState = { state: 'running', reason: 'ordinary' };
const OFF: DomainState = { state: 'off', reason: 'shutdown' };
const PAUSED: DomainState = { state: 'paused', reason: 'user' };
const INCOMING: DomainState = { state: 'paused', reason: 'migration' };

const domain = (uuid: string, state: DomainState, gib: bigint, placementEpoch = 1n): Domain => ({
  uuid,
  name: uuid,
  state,
  persistent: true,
  placementEpoch,
  maxMemoryBytes: gib * GIB,
  vcpus: Number(gib),
});
const armed = (gib: bigint, closed = false): VmNotes => ({
  floor: 0n,
  closedMigrations: [],
  armed: { migrationId: 'm', placementEpoch: 2n, bootId: 'b', memoryBytes: gib * GIB, vcpus: Number(gib), closed },
});
const assigned = (gib: bigint): VmNotes => ({
  floor: 0n,
  closedMigrations: [],
  assignment: { desired: 2, placementEpoch: 1n, memoryBytes: gib * GIB, vcpus: Number(gib) },
});

const POOLS = [{ pageBytes: 2n ** 21n, totalBytes: 8n * GIB, freeBytes: 3n * GIB, isDefault: true }];
const HUGEPAGES = { hugepagesTotalBytes: 8n * GIB, hugepagesFreeBytes: 3n * GIB, hugepagePools: POOLS };

function gib(domains: Domain[], notes: Record<string, VmNotes> = {}) {
  const host = { totalBytes: 64n * GIB, freeBytes: 10n * GIB, availableBytes: 40n * GIB, hugepagePools: POOLS };
  const { memory } = nodeFigures({ domains, notes: new Map(Object.entries(notes)), host, cpus: 8, load: 0 });
  return [memory.allocatedBytes / GIB, memory.provisionedBytes / GIB, memory.promisedBytes / GIB].map(Number);
}

describe('the figures of a node: allocated, provisioned, promised', () => {
  it.each<[string, Domain[], Record<string, VmNotes>, number[]]>([
    ['a VM that runs', [domain('v', RUNNING, 4n)], {}, [4, 4, 0]],
    ['a VM that is stopped counts as provisioned', [domain('v', OFF, 4n)], {}, [0, 4, 0]],
    ['a paused VM keeps its memory', [domain('v', PAUSED, 4n)], {}, [4, 4, 0]],
    ['an assigned VM that is not defined yet', [], { v: assigned(4n) }, [0, 4, 0]],
    ['an assigned VM that is defined counts once', [domain('v', RUNNING, 4n)], { v: assigned(4n) }, [4, 4, 0]],
    ['an unmanaged VM takes memory, but does not belong here', [{ ...domain('v', RUNNING, 4n), placementEpoch: undefined }], {}, [4, 0, 0]],
    ['a vote', [], { v: armed(4n) }, [0, 0, 4]],
    ['an incoming guest counts once, as promised', [domain('v', INCOMING, 4n)], { v: armed(4n) }, [0, 0, 4]],
    ['a guest that has arrived', [domain('v', RUNNING, 4n, 2n)], { v: armed(4n) }, [4, 4, 0]],
    ['a vote that was given up', [], { v: armed(4n, true) }, [0, 0, 0]],
  ])('%s', (_what, domains, notes, expected) => {
    expect(gib(domains, notes)).toEqual(expected);
  });

  it('takes used memory from what is available: the page cache is no use', () => {
    const host = { totalBytes: 64n * GIB, freeBytes: 10n * GIB, availableBytes: 40n * GIB, hugepagePools: POOLS };
    const { memory } = nodeFigures({ domains: [], notes: new Map(), host, cpus: 8, load: 0 });
    expect(memory).toMatchObject({ totalBytes: 64n * GIB, usedBytes: 24n * GIB, freeBytes: 10n * GIB, ...HUGEPAGES });
  });

  const memory = {
    totalBytes: 8n * GIB,
    usedBytes: 0n,
    freeBytes: 0n,
    availableBytes: 0n,
    allocatedBytes: 4n * GIB,
    provisionedBytes: 0n,
    promisedBytes: 2n * GIB,
    hugepagesTotalBytes: 0n,
    hugepagesFreeBytes: 0n,
    hugepagePools: [],
  };

  it('says what is missing', () => {
    const need = { memoryBytes: 2n * GIB };
    expect(memoryRefusal(memory, need, 0n)).toBeUndefined();
    expect(memoryRefusal(memory, need, 1n)).toMatch(/needs 2048 MiB of memory, has 2047 MiB/);
    expect(memoryRefusal({ ...memory, promisedBytes: 9n * GIB }, { memoryBytes: 1n }, 0n)).toMatch(/has 0 MiB/);
  });

  it('tells huge pages from other memory', () => {
    const mixed = { ...memory, totalBytes: 14n * GIB, ...HUGEPAGES };
    // 8 of 14 GiB are a pool of which 5 are taken, by guests that run or come: of the other 6 only 1 is.
    expect(memoryRefusal(mixed, { memoryBytes: 5n * GIB }, 0n)).toBeUndefined();
    expect(memoryRefusal(mixed, { memoryBytes: 6n * GIB }, 0n)).toMatch(/needs 6144 MiB of memory, has 5120 MiB .*huge pages 8192 MiB/);
    const huge = (gib: bigint, pageBytes = 0n) => ({ memoryBytes: gib * GIB, hugepages: [{ pageBytes, bytes: gib * GIB }] });
    expect(memoryRefusal(mixed, huge(3n), 6n * GIB)).toBeUndefined();
    expect(memoryRefusal(mixed, huge(4n), 0n)).toBe('needs 4096 MiB of huge pages, has 3072 MiB free');
    expect(memoryRefusal(mixed, huge(1n, GIB), 0n)).toBe('needs 1024 MiB of huge pages of 1 GiB, has 0 MiB free');
  });
});
