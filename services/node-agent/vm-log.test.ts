// SPDX-License-Identifier: Apache-2.0
import { MigrationRole, StreamVmLogRequest } from '@lockstep/sdk/v1';
import { describe, expect, it } from 'vitest';
import { withPlacementEpoch } from '../core/domain-xml/epoch.js';
import { call, domainXml, spec, TestBed, VM, type TestNode } from './test-bed.js';

const PATH = '/log/web';
const XML = domainXml().replace(
  '</domain>',
  `<devices><serial type='file'><source path='${PATH}'/></serial></devices></domain>`,
);

async function running(bed: TestBed, xml = XML): Promise<TestNode> {
  const node = await bed.node('h1');
  const hypervisor = node.host.hypervisor();
  await bed.run(hypervisor.define(withPlacementEpoch(xml, 3n), { deadlineMs: 1_000 }));
  await bed.run(hypervisor.start(VM, { deadlineMs: 1_000 }));
  return node;
}

/** Reads a stream to its end, or until it is left; what came so far can be looked at. */
function reading(bed: TestBed, node: TestNode, request: Partial<StreamVmLogRequest>) {
  const leave = new AbortController();
  const read = { text: '', offset: 0n, leave: () => { leave.abort(); } };
  const done = (async () => {
    const stream = node.service.streamVmLog(StreamVmLogRequest.create({ vmId: VM, ...request }), call(leave.signal));
    for await (const { data = new Uint8Array(), offset = 0n } of stream) {
      read.text += Buffer.from(data).toString();
      read.offset = BigInt(offset);
    }
  })();
  return Object.assign(read, { done: () => bed.run(done) });
}

describe('a console', () => {
  it('gives its last lines, however far back they begin, and ends', async () => {
    const bed = new TestBed();
    const node = await running(bed);
    const lines = Array.from({ length: 20_000 }, (_, index) => `line ${String(index)}\n`);
    node.consoles.write(PATH, lines.join(''));
    const short = reading(bed, node, { tailLines: 3 });
    await short.done();
    expect(short.text).toBe(lines.slice(-3).join(''));
    const long = reading(bed, node, { tailLines: 9_000 });
    await long.done();
    expect(long.text).toBe(lines.slice(-9_000).join(''));
    expect(long.offset).toBe(BigInt(lines.join('').length));
    node.consoles.write(PATH, 'no end');
    const open = reading(bed, node, { tailLines: 2 });
    await open.done();
    expect(open.text).toBe(`${lines.at(-1) ?? ''}no end`);
  });

  it('of endless lines is read for a bounded piece', async () => {
    const bed = new TestBed();
    const node = await running(bed);
    node.consoles.write(PATH, 'x'.repeat(3 * 1024 * 1024));
    const read = reading(bed, node, { tailLines: 10 });
    await read.done();
    expect(read.text.length).toBe(1024 * 1024);
  });

  it('is followed as it grows, through a rotation, until the guest runs here no more', async () => {
    const bed = new TestBed();
    const node = await running(bed);
    node.consoles.write(PATH, 'old\n');
    const read = reading(bed, node, { tailLines: 1, follow: true });
    await bed.clock.advance(1_000);
    node.consoles.write(PATH, 'new\n');
    await bed.clock.advance(1_000);
    expect(read.text).toBe('old\nnew\n');
    node.consoles.truncate(PATH);
    await bed.clock.advance(1_000);
    node.consoles.write(PATH, 'rotated\n');
    await bed.clock.advance(1_000);
    node.host.crashGuest(VM);
    node.consoles.write(PATH, 'last words\n');
    await read.done();
    expect(read.text).toBe('old\nnew\nrotated\nlast words\n');
  });

  it('goes on where a reader had come to', async () => {
    const bed = new TestBed();
    const node = await running(bed);
    node.consoles.write(PATH, 'one\ntwo\n');
    const read = reading(bed, node, { fromOffset: 4n });
    await read.done();
    expect(read.text).toBe('two\n');
  });

  it('of a guest that arrived gives what it wrote since, and not what an earlier stay left', async () => {
    const bed = new TestBed();
    const node = await bed.node('h1');
    node.consoles.write(PATH, 'an earlier stay\n');
    const order = { vmId: VM, placementEpoch: 9n, migrationId: 'm1' };
    await bed.run(
      node.service.prepare(
        {
          header: await bed.header(node),
          order,
          role: MigrationRole.TARGET,
          limits: undefined,
          cookie: Buffer.alloc(0),
          domainXml: XML,
          persistentXml: XML,
          spec: { ...spec(), domainXml: XML },
          paused: false,
          measureDirtyRate: false,
        },
        call(),
      ),
    );
    node.consoles.write(PATH, 'after its arrival\n');
    const hypervisor = node.host.hypervisor();
    await bed.run(hypervisor.define(withPlacementEpoch(XML, 3n), { deadlineMs: 1_000 }).catch(() => undefined));
    const read = reading(bed, node, { fromArrival: true });
    await read.done();
    expect(read.text).toBe('after its arrival\n');
  });

  it('that cannot be read, or is of nobody, is refused in words', async () => {
    const bed = new TestBed();
    const node = await running(bed, domainXml());
    await expect(reading(bed, node, {}).done()).rejects.toMatchObject({ reason: 'NO_CONSOLE' });
    const nobody = reading(bed, node, { vmId: VM.replace('1', '9') });
    await expect(nobody.done()).rejects.toMatchObject({ reason: 'DOMAIN_NOT_FOUND' });
    await expect(reading(bed, node, { tailLines: 10_001 }).done()).rejects.toThrow('tail_lines');
  });
});
