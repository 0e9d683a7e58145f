// SPDX-License-Identifier: Apache-2.0
import { randomBytes, randomUUID } from 'node:crypto';
import { afterEach, beforeAll, expect, it } from 'vitest';
import { guestXml, hostNamed, ports, until } from '../../deploy/lab/api.js';
import { withXmlFile } from './guest.js';
import { lab, meshUp, ok, shown } from './mesh.js';

// What VMs take of a node while they do not run, by real definitions on real hypervisors.

const LIMIT_MS = 60_000;
const GIB = 2 ** 30;

interface ShownNode {
  name: string;
  conditions?: { type: string; detail: string }[];
  figures: { memory: { totalBytes: string; allocatedBytes?: string; provisionedBytes?: string } };
}

const made: string[] = [];

beforeAll(meshUp);
afterEach(async () => {
  for (const name of made.splice(0)) await ok('vm', 'undefine', name, '--yes');
});

/** Defines a VM that stays stopped. */
async function stopped(memoryGib: number, node: string): Promise<string> {
  const name = `memory-${randomBytes(3).toString('hex')}`;
  const xml = guestXml(lab, { kind: 'counter', name, uuid: randomUUID(), memoryMib: memoryGib * 1024 });
  await withXmlFile(xml, (file) => ok('vm', 'define', file, '--node', node));
  made.push(name);
  await until(`${name} is defined on ${node}`, LIMIT_MS, async () => {
    const { vms = [] } = await shown<{ vms?: { name: string }[] }>('node', 'show', node);
    return vms.some((vm) => vm.name === name) ? undefined : 'not yet';
  });
  return name;
}

const nodeOf = async (name: string): Promise<ShownNode> => (await shown<{ node: ShownNode }>('node', 'show', name)).node;

async function memoryOf(name: string) {
  const { memory } = (await nodeOf(name)).figures;
  return {
    total: Number(memory.totalBytes),
    allocated: Number(memory.allocatedBytes ?? 0),
    provisioned: Number(memory.provisionedBytes ?? 0),
  };
}

async function metric(host: string, name: string): Promise<number> {
  const { addresses } = hostNamed(lab, host);
  const text = await (await fetch(`http://${addresses.a}:${ports['node-agent'] + 10}/metrics`)).text();
  const line = text.split('\n').find((each) => each.startsWith(`${name} `));
  return Number(line?.slice(name.length));
}

const conditionsOf = async (name: string): Promise<string[]> => ((await nodeOf(name)).conditions ?? []).map(({ type }) => type);

it('ancestor 12: two stopped VMs of 1 GiB are provisioned and not allocated, and too many show everywhere', async () => {
  const before = await memoryOf('h1');
  await stopped(1, 'h1');
  await stopped(1, 'h1');
  const after = await memoryOf('h1');
  expect(after.provisioned - before.provisioned).toBe(2 * GIB);
  expect(after.allocated).toBe(before.allocated);
  expect(await conditionsOf('h1')).not.toContain('NODE_CONDITION_TYPE_OVERPROVISIONED');
  await until('Prometheus is told the same', LIMIT_MS, async () => {
    const provisioned = await metric('h1', 'lockstep_node_memory_bytes{kind="provisioned"}');
    return provisioned === after.provisioned ? undefined : String(provisioned);
  });
  expect(await metric('h1', 'lockstep_node_condition{condition="overprovisioned"}')).toBe(0);

  // The mem selector looks at what is provisioned: a small VM goes elsewhere now, and by far where h1 has too much.
  const probe = await stopped(1, 'h2');
  await stopped(Math.ceil(after.total / GIB), 'h1');
  expect(await conditionsOf('h1')).toContain('NODE_CONDITION_TYPE_OVERPROVISIONED');
  expect(await ok('node', 'show', 'h1')).toMatch(/^OVERPROVISIONED .* provisioned of /m);
  expect(await ok('node', 'list', '-o', 'wide')).toMatch(/^h1 .*OVERPROVISIONED/m);
  await until('Prometheus is told that, too', LIMIT_MS, async () => {
    const holds = await metric('h1', 'lockstep_node_condition{condition="overprovisioned"}');
    return holds === 1 ? undefined : String(holds);
  });
  const explained = await shown<{ node: string; candidates: { node: string; feasible?: boolean; filters: { filter: string; passed?: boolean }[] }[] }>(
    ...['vm', 'explain', probe],
  );
  expect(explained.node).toBe('h3');
  const refused = explained.candidates.find(({ node }) => node === 'h1');
  expect(refused?.filters.filter(({ passed }) => passed !== true).map(({ filter }) => filter)).toContain('memory');

  // The cluster as a whole has room until every node is full.
  expect((await shown<{ overprovisioned?: boolean }>('cluster', 'status')).overprovisioned ?? false).toBe(false);
  for (const node of ['h2', 'h3']) await stopped(Math.ceil(after.total / GIB), node);
  expect((await shown<{ overprovisioned?: boolean }>('cluster', 'status')).overprovisioned).toBe(true);
  expect(await ok('cluster', 'status')).toContain('more provisioned than there is');
});
