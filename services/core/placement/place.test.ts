// SPDX-License-Identifier: Apache-2.0
import { Selector } from '@lockstep/sdk/v1';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { HugepageMemory } from '../domain-xml/hugepages.js';
import type { HugepagePool } from './hugepages.js';
import { explain, place, refusalOf } from './place.js';
import type { AssignedVm, PlacementNode, PlacementRequest, PlacementSnapshot } from './snapshot.js';
import { isOverprovisioned, limitsOf, selectorOf, unprovisionedBytes, usageOf } from './snapshot.js';

const GiB = 1024n ** 3n;

function node(name: string, memoryGiB = 16n, more: Partial<PlacementNode> = {}): PlacementNode {
  return {
    name,
    ready: true,
    notReadyReason: '',
    capacity: { memoryTotalBytes: memoryGiB * GiB, memoryAvailableBytes: memoryGiB * GiB, cpus: 8, load: 0 },
    ...more,
  };
}

function assigned(id: string, at: string, memoryGiB: bigint, running = true): AssignedVm {
  return { id, node: at, memoryBytes: memoryGiB * GiB, vcpus: 2, running };
}

/** Half of its memory is set aside as huge pages of 2 MiB. */
function pooled(name: string, more: Partial<HugepagePool> = {}): PlacementNode {
  const base = node(name);
  const pool = { pageBytes: 2n ** 21n, totalBytes: 8n * GiB, freeBytes: 8n * GiB, isDefault: true, ...more };
  return base.capacity === undefined ? base : { ...base, capacity: { ...base.capacity, hugepagePools: [pool] } };
}

function huge(gib: bigint, pageBytes = 2n ** 21n): HugepageMemory[] {
  return [{ pageBytes, bytes: gib * GiB }];
}

function snapshot(more: Partial<PlacementSnapshot> = {}): PlacementSnapshot {
  const limits = { memoryRatio: 1, memoryReserveBytes: GiB / 2n, vcpuRatio: 16 };
  return { nodes: [node('h1'), node('h2')], vms: [], promises: [], limits, ...more };
}

function request(more: Partial<PlacementRequest> = {}): PlacementRequest {
  return { vmId: 'new', memoryBytes: 2n * GiB, vcpus: 2, nodeLimit: [], selector: Selector.MEM, ...more };
}

describe('the mem selector', () => {
  it('counts VMs that are stopped but assigned: they flip the choice', () => {
    const running = [assigned('a', 'h1', 4n)];
    expect(place(snapshot({ vms: running }), request()).node).toBe('h2');
    const withStopped = [...running, assigned('b', 'h2', 8n, false)];
    expect(place(snapshot({ vms: withStopped }), request()).node).toBe('h1');
  });

  it('takes a node as full whose VMs are all stopped', () => {
    const vms = [assigned('a', 'h1', 15n, false), assigned('b', 'h2', 15n, false)];
    const decision = place(snapshot({ vms }), request());
    expect(decision.node).toBeUndefined();
    expect(decision.candidates.map((candidate) => refusalOf(candidate)?.filter)).toEqual(['memory', 'memory']);
  });

  it('counts what is promised to moves in flight as taken', () => {
    const promises = [{ id: 'b', node: 'h1', memoryBytes: 14n * GiB, vcpus: 1 }];
    const decision = place(snapshot({ promises }), request());
    expect(decision.node).toBe('h2');
    expect(decision.candidates[0]).toMatchObject({ node: 'h1', feasible: false });
  });

  it('is not the selector of free memory, which looks at the moment', () => {
    const busy = node('h1');
    const idle = node('h2');
    if (busy.capacity !== undefined) busy.capacity.memoryAvailableBytes = GiB;
    const vms = [assigned('b', 'h2', 8n, false)];
    const seen = snapshot({ nodes: [busy, idle], vms });
    expect(place(seen, request({ selector: Selector.MEM })).node).toBe('h1');
    expect(place(seen, request({ selector: Selector.MEMFREE })).node).toBe('h2');
  });
});

describe('the other selectors', () => {
  it.each([
    [Selector.LOAD, 'h2'],
    [Selector.VCPUS, 'h3'],
    [Selector.VMS, 'h1'],
  ])('choose by their own figure: %s', (selector, expected) => {
    const [h1, h2, h3] = [node('h1'), node('h2'), node('h3')];
    for (const [one, load] of [[h1, 4], [h2, 0.5], [h3, 2]] as const) {
      if (one.capacity !== undefined) one.capacity.load = load;
    }
    const vms = [
      { ...assigned('a', 'h1', 1n), vcpus: 8 },
      { ...assigned('b', 'h2', 1n), vcpus: 4 },
      { ...assigned('c', 'h2', 1n), vcpus: 4 },
      { ...assigned('d', 'h3', 1n), vcpus: 1 },
      { ...assigned('e', 'h3', 1n), vcpus: 1 },
    ];
    expect(place(snapshot({ nodes: [h1, h2, h3], vms }), request({ selector })).node).toBe(expected);
  });

  it('break ties by the VMs that run: room that is only kept for one that is stopped costs nothing yet', () => {
    const vms = [assigned('a', 'h1', 4n), assigned('b', 'h2', 4n, false)];
    expect(place(snapshot({ vms }), request()).node).toBe('h2');
    expect(place(snapshot({ vms }), request({ selector: Selector.VMS })).node).toBe('h2');
  });

  it('break ties by name', () => {
    const nodes = [node('h3'), node('h10'), node('h2')];
    expect(place(snapshot({ nodes }), request()).node).toBe('h10');
  });

  it('come from the VM, then from the cluster, then are mem', () => {
    expect(selectorOf(Selector.UNSPECIFIED, Selector.LOAD)).toBe(Selector.LOAD);
    expect(selectorOf(Selector.VMS, Selector.LOAD)).toBe(Selector.VMS);
    expect(selectorOf(Selector.UNSPECIFIED, Selector.UNSPECIFIED)).toBe(Selector.MEM);
  });
});

describe('the filters', () => {
  it.each([
    ['ready', 'NODE_NOT_READY', { nodes: [node('h1', 16n, { ready: false, notReadyReason: 'libvirtd is down' })] }, {}],
    ['not-source', 'SAME_NODE', { nodes: [node('h1')] }, { source: 'h1' }],
    ['node-limit', 'NODE_LIMIT', { nodes: [node('h1')] }, { nodeLimit: ['h7'] }],
    ['memory', 'NO_FIT', { nodes: [node('h1', 2n)] }, {}],
    ['vcpus', 'NO_FIT', { nodes: [node('h1')] }, { vcpus: 129 }],
    ['bridges', 'BRIDGE_MISSING', { nodes: [node('h1', 16n, { bridges: ['br0'] })] }, { bridges: ['br0', 'br7'] }],
  ] as const)('refuse by name and reason: %s', (filter, reason, seen, asked) => {
    const decision = place(snapshot(seen), request(asked));
    expect(decision.node).toBeUndefined();
    const [candidate] = decision.candidates;
    if (candidate === undefined) throw new Error('no candidate');
    expect(candidate.filters.filter(({ passed }) => !passed).map((one) => one.filter)).toEqual([filter]);
    expect(refusalOf(candidate)).toMatchObject({ filter, reason });
  });

  it('say of huge pages what was needed and what was there, by their size', () => {
    const decision = place(snapshot({ nodes: [pooled('h1'), node('h2')] }), request({ hugepages: huge(9n), memoryBytes: 9n * GiB }));
    expect(explain(decision)).toBe(
      'h1: hugepages: needs 9 GiB in huge pages of 2 MiB, has 8 GiB of 8 GiB: 0 B provisioned, 0 B promised, 0 B held by others; ' +
        'h2: hugepages: needs 9 GiB in huge pages of 2 MiB, has none at all',
    );
    const other = place(snapshot({ nodes: [pooled('h1')] }), request({ hugepages: huge(1n, GiB), memoryBytes: GiB }));
    expect(explain(other)).toContain('needs 1 GiB in huge pages of 1 GiB, has none but 2 MiB');
    expect(other.candidates[0] === undefined ? undefined : refusalOf(other.candidates[0])).toMatchObject({ reason: 'NO_FIT' });
  });

  it('say what was needed and what was there', () => {
    const decision = place(
      snapshot({
        nodes: [node('h1', 4n)],
        vms: [assigned('a', 'h1', 2n)],
        promises: [{ id: 'b', node: 'h1', memoryBytes: GiB, vcpus: 1 }],
      }),
      request(),
    );
    expect(explain(decision)).toBe(
      'h1: memory: needs 2 GiB, has 512 MiB of 3.5 GiB (4 GiB × 1 − 512 MiB): 2 GiB provisioned, 1 GiB promised',
    );
  });

  it('refuse a node whose agent has said nothing yet', () => {
    const decision = place(snapshot({ nodes: [node('h1', 1n, { capacity: undefined })] }), request());
    expect(decision.node).toBeUndefined();
    expect(explain(decision)).toContain('has not said yet');
  });

  it('do not hold a VM against itself', () => {
    const vms = [assigned('new', 'h1', 10n, false)];
    const seen = snapshot({ nodes: [node('h1')], vms });
    expect(place(seen, request({ memoryBytes: 10n * GiB })).node).toBe('h1');
  });

  it('let the exact fit pass and one byte more fail', () => {
    const nodes = [node('h1', 16n)];
    const fits = 16n * GiB - GiB / 2n;
    expect(place(snapshot({ nodes }), request({ memoryBytes: fits })).node).toBe('h1');
    expect(place(snapshot({ nodes }), request({ memoryBytes: fits + 1n })).node).toBeUndefined();
  });

  it('give reasons where there is no node at all', () => {
    expect(explain(place(snapshot({ nodes: [] }), request()))).toBe('the cluster has no nodes');
  });
});

describe('huge pages', () => {
  it('are no room for a VM that asks for none', () => {
    const decision = place(snapshot({ nodes: [pooled('h1')] }), request({ memoryBytes: 8n * GiB }));
    expect(decision.node).toBeUndefined();
    expect(explain(decision)).toBe(
      'h1: memory: needs 8 GiB, has 7.5 GiB of 7.5 GiB ((16 GiB − 8 GiB of huge pages) × 1 − 512 MiB): 0 B provisioned, 0 B promised',
    );
    expect(place(snapshot({ nodes: [pooled('h1')] }), request({ memoryBytes: 7n * GiB })).node).toBe('h1');
  });

  it('leave the ordinary memory of their host to others', () => {
    const full = [assigned('a', 'h1', 7n), { ...assigned('b', 'h1', 6n), hugepages: huge(6n) }];
    const seen = snapshot({ nodes: [pooled('h1', { freeBytes: 2n * GiB })], vms: full });
    expect(place(seen, request({ memoryBytes: 2n * GiB, hugepages: huge(2n) })).node).toBe('h1');
    expect(place(seen, request({ memoryBytes: 3n * GiB, hugepages: huge(3n) })).node).toBeUndefined();
    expect(place(seen, request({ memoryBytes: GiB / 2n })).node).toBe('h1');
    expect(place(seen, request({ memoryBytes: GiB })).node).toBeUndefined();
  });

  it.each<[string, Partial<PlacementSnapshot>, bigint]>([
    ['stopped VMs, and VMs on their way', {
      vms: [{ ...assigned('a', 'h1', 3n, false), hugepages: huge(3n) }],
      promises: [{ id: 'b', node: 'h1', memoryBytes: GiB, vcpus: 1, hugepages: huge(1n) }],
    }, 4n],
    ['a VM of the default size', { vms: [{ ...assigned('a', 'h1', 3n, false), hugepages: huge(3n, 0n) }] }, 5n],
    ['a VM that runs, once', {
      nodes: [pooled('h1', { freeBytes: 5n * GiB })],
      vms: [{ ...assigned('a', 'h1', 3n), hugepages: huge(3n) }],
    }, 5n],
    ['a VM on its way, once, also when it has its pages', {
      nodes: [pooled('h1', { freeBytes: 5n * GiB })],
      promises: [{ id: 'b', node: 'h1', memoryBytes: 3n * GiB, vcpus: 1, hugepages: huge(3n) }],
    }, 5n],
    ['what others than VMs hold', { nodes: [pooled('h1', { freeBytes: 2n * GiB })] }, 2n],
    ['VMs in pages of another size not', { vms: [{ ...assigned('a', 'h1', 3n), hugepages: huge(3n, GiB) }] }, 8n],
  ])('are counted as taken by %s', (_what, more, leftGiB) => {
    const seen = snapshot({ nodes: [pooled('h1')], ...more });
    expect(place(seen, request({ memoryBytes: leftGiB * GiB, hugepages: huge(leftGiB) })).node).toBe('h1');
    expect(place(seen, request({ memoryBytes: leftGiB * GiB, hugepages: huge(leftGiB + 1n) })).node).toBeUndefined();
  });

  it('are what the node of such a VM is chosen by', () => {
    const nodes = [pooled('h1', { freeBytes: 3n * GiB }), pooled('h2', { freeBytes: 5n * GiB }), node('h3', 64n)];
    const vms = [assigned('a', 'h2', 4n)];
    const asked = { memoryBytes: 2n * GiB, hugepages: huge(2n) };
    expect(place(snapshot({ nodes, vms }), request(asked)).node).toBe('h2');
    expect(place(snapshot({ nodes, vms }), request({ ...asked, selector: Selector.MEMFREE })).node).toBe('h2');
  });
});

describe('usage', () => {
  it('tells allocated from provisioned, and flags a node with more provisioned than it has', () => {
    const nodes = [node('h1', 8n)];
    const vms = [assigned('a', 'h1', 4n), assigned('b', 'h1', 5n, false), assigned('c', 'gone', 5n)];
    const usage = usageOf({ nodes, vms, promises: [] }).get('h1');
    expect(usage).toMatchObject({ memoryAllocatedBytes: 4n * GiB, memoryProvisionedBytes: 9n * GiB, vms: 2 });
    const capacity = nodes[0]?.capacity;
    if (capacity === undefined || usage === undefined) throw new Error('no figures');
    expect(isOverprovisioned(capacity, usage)).toBe(true);
    expect(unprovisionedBytes(capacity, usage, limitsOf(undefined))).toBe(-GiB - GiB / 2n);
  });
});

const names = ['h1', 'h2', 'h3', 'h4', 'h5'];
const anyBytes = fc.bigInt({ min: 0n, max: 20n * GiB });
const anyVcpus = fc.integer({ min: 1, max: 40 });
const anyNode = (name: string): fc.Arbitrary<PlacementNode> =>
  fc.record({
    name: fc.constant(name),
    ready: fc.boolean(),
    notReadyReason: fc.constant('starting'),
    capacity: fc.option(
      fc.record({
        memoryTotalBytes: fc.bigInt({ min: 0n, max: 64n * GiB }),
        memoryAvailableBytes: anyBytes,
        cpus: fc.integer({ min: 0, max: 8 }),
        load: fc.double({ min: 0, max: 64, noNaN: true }),
      }),
      { nil: undefined },
    ),
  });
const anySnapshot: fc.Arbitrary<PlacementSnapshot> = fc.record({
  nodes: fc.subarray(names).chain((some) => fc.tuple(...some.map(anyNode))),
  vms: fc.array(
    fc.record({
      id: fc.uuid(),
      node: fc.constantFrom(...names),
      memoryBytes: anyBytes,
      vcpus: anyVcpus,
      running: fc.boolean(),
    }),
    { maxLength: 12 },
  ),
  promises: fc.array(
    fc.record({ id: fc.uuid(), node: fc.constantFrom(...names), memoryBytes: anyBytes, vcpus: anyVcpus }),
    { maxLength: 4 },
  ),
  limits: fc.record({
    memoryRatio: fc.double({ min: 0.5, max: 3, noNaN: true }),
    memoryReserveBytes: fc.bigInt({ min: 0n, max: 4n * GiB }),
    vcpuRatio: fc.double({ min: 1, max: 16, noNaN: true }),
  }),
});
const anyRequest: fc.Arbitrary<PlacementRequest> = fc.record(
  {
    vmId: fc.uuid(),
    memoryBytes: anyBytes,
    vcpus: anyVcpus,
    nodeLimit: fc.subarray(names),
    selector: fc.constantFrom(
      ...[Selector.UNSPECIFIED, Selector.MEM, Selector.MEMFREE, Selector.LOAD, Selector.VCPUS, Selector.VMS],
    ),
    source: fc.constantFrom(...names),
  },
  { requiredKeys: ['vmId', 'memoryBytes', 'vcpus', 'nodeLimit', 'selector'] },
);

describe('every placement', () => {
  it('chooses a node that passes all filters, and no feasible one scores higher', () => {
    fc.assert(
      fc.property(anySnapshot, anyRequest, (seen, asked) => {
        const { node: chosen, candidates } = place(seen, asked);
        expect(candidates.map((candidate) => candidate.node).sort()).toEqual(seen.nodes.map(({ name }) => name).sort());
        const feasible = candidates.filter((candidate) => candidate.feasible);
        if (chosen === undefined) {
          expect(feasible).toEqual([]);
          expect(candidates.every((candidate) => refusalOf(candidate) !== undefined)).toBe(true);
          return;
        }
        const best = candidates.find((candidate) => candidate.node === chosen);
        expect(best?.filters.every(({ passed }) => passed)).toBe(true);
        expect(chosen).not.toBe(asked.source);
        for (const other of feasible) {
          expect(other.score).toBeLessThanOrEqual(best?.score ?? NaN);
          if (other.score === best?.score) expect(chosen <= other.node).toBe(true);
        }
      }),
    );
  });

  it('leaves the chosen node within its limits', () => {
    fc.assert(
      fc.property(anySnapshot, anyRequest, (seen, asked) => {
        const chosen = seen.nodes.find(({ name }) => name === place(seen, asked).node);
        // What needs no memory of its own fits also where nothing is left.
        if (chosen?.capacity === undefined || asked.memoryBytes === 0n) return;
        const used = usageOf(seen, asked.vmId).get(chosen.name);
        const taken = (used?.memoryProvisionedBytes ?? 0n) + (used?.memoryPromisedBytes ?? 0n) + asked.memoryBytes;
        const most = Number(chosen.capacity.memoryTotalBytes) * seen.limits.memoryRatio;
        expect(Number(taken + seen.limits.memoryReserveBytes)).toBeLessThanOrEqual(most);
      }),
    );
  });

  it('does not depend on the order of anything', () => {
    fc.assert(
      fc.property(anySnapshot, anyRequest, (seen, asked) => {
        const turned = {
          ...seen,
          nodes: [...seen.nodes].reverse(),
          vms: [...seen.vms].reverse(),
          promises: [...seen.promises].reverse(),
        };
        const { node: chosen, candidates } = place(turned, asked);
        const before = place(seen, asked);
        expect(chosen).toBe(before.node);
        expect(candidates).toEqual(before.candidates);
      }),
    );
  });

  it('does not get worse for a node by stopping its VMs, nor better', () => {
    fc.assert(
      fc.property(anySnapshot, anyRequest, (seen, asked) => {
        const stopped = { ...seen, vms: seen.vms.map((vm) => ({ ...vm, running: false })) };
        // Only a tie may then go to another.
        expect(place(stopped, asked).candidates).toEqual(place(seen, asked).candidates);
      }),
    );
  });
});
