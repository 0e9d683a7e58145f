// SPDX-License-Identifier: Apache-2.0
import { expect, it } from 'vitest';
import type { Ceph } from '../platform/host/ceph.js';
import { call, TestBed } from './test-bed.js';

const HEALTHY = {
  health: 'HEALTH_OK',
  detail: '',
  osds: [{ id: 0, up: true, in: true }],
  usedBytes: 1n,
  totalBytes: 10n,
};

it('a host without Ceph has nothing to tell, and that is no failure', async () => {
  const bed = new TestBed();
  const { service } = await bed.node('h1');
  const { node } = await bed.run(service.getNode({ header: undefined }, call()));
  expect(node?.ceph).toBeUndefined();
  expect(node?.figures?.ages?.find(({ collector }) => collector === 'ceph')).toMatchObject({ failure: '' });
  expect(node?.conditions).toEqual([]);
});

it('ancestor 22: a Ceph that hangs delays nothing else; its last figures stay, with their age and why', async () => {
  const bed = new TestBed();
  let answer: Ceph['report'] = () => Promise.resolve(HEALTHY);
  const ceph: Ceph = { report: (limit) => answer(limit) };
  const { service } = await bed.node('h1', { ceph });
  answer = () => new Promise(() => undefined);
  await bed.clock.advance(120_000);
  const { node } = await bed.run(service.getNode({ header: undefined }, call()));
  expect(node?.ceph).toMatchObject({ health: 'HEALTH_OK', osdsTotal: 1, osdsUp: 1, osdsIn: 1 });
  const ages = new Map((node?.figures?.ages ?? []).map((age) => [age.collector, age]));
  expect(ages.get('ceph')?.failure).toContain('ceph');
  expect(Number(ages.get('ceph')?.age?.seconds)).toBeGreaterThan(100);
  for (const collector of ['vms', 'usage', 'host', 'bridges']) expect(ages.get(collector)).toMatchObject({ failure: '' });
  for (const collector of ['vms', 'usage', 'host']) expect(Number(ages.get(collector)?.age?.seconds)).toBeLessThan(6);
});
