// SPDX-License-Identifier: Apache-2.0
import { expect, it } from 'vitest';
import { Desk } from './world/desk.js';

// VMs that are defined while earlier definitions are still on their way to the store, under a virtual clock.

const GIB = 1024n ** 3n;

it('many VMs that are defined at once are promised no room twice, though the store is slow', async () => {
  const desk = new Desk({ hostMemoryBytes: 8n * GIB });
  await desk.open();
  const define = (number: number) =>
    desk.anyone().defineVm({
      requestId: `define-${String(number)}`,
      // One of these fits each node.
      spec: { domainXml: `<domain type='kvm'><name>vm-${String(number)}</name><memory unit='GiB'>5</memory></domain>` },
    });
  const answers = await desk.until(Promise.allSettled(Array.from({ length: 7 }, (_, number) => define(number))));
  const homes = answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value.vm?.homeNode] : []));
  expect(homes.sort()).toEqual(['n1', 'n2', 'n3']);
  for (const answer of answers) {
    if (answer.status === 'rejected') expect(answer.reason).toMatchObject({ reason: 'NO_TARGET' });
  }
  const { nodes } = await desk.ask((api) => api.listNodes({}));
  expect(nodes.map(({ conditions }) => conditions)).toEqual([[], [], []]);

  // What was refused is promised nothing any more: the room of one that goes is there for another.
  const { vms } = await desk.ask((api) => api.listVms({}));
  expect(vms).toHaveLength(3);
  const [first] = vms;
  await desk.pass(10_000);
  await desk.ask((api) => api.undefineVm({ vm: first?.id ?? '' }));
  const { vm } = await desk.ask(() => define(8));
  expect(vm?.homeNode).toBe(first?.homeNode);
});
