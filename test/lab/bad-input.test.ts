// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { ApiError, connect, LeaderRole, MigrationRole, type Lockstep } from '@lockstep/sdk';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { hostNamed, inside, ports, until, virsh } from '../../deploy/lab/api.js';
import { startConsul } from '../contract/consul.js';
import { removeGuests, startGuest, withXmlFile } from './guest.js';
import { killPart, lab, lockstep, lockstepAt, meshUp, ok, servers, shown, startPartAgain } from './mesh.js';
import { startService } from './service-process.js';

/** Exit codes, as scripts know them. */
const [USAGE, NOT_FOUND, PRECONDITION, UNAVAILABLE] = [2, 3, 4, 5];

let mesh: Lockstep;
beforeAll(async () => {
  await meshUp();
  mesh = connect({ servers });
});
afterEach(removeGuests);
afterAll(() => {
  mesh.close();
});

/** A command that must be refused: with this exit code, and words that name all of these. */
async function refused(exitCode: number, words: readonly string[], ...args: string[]): Promise<void> {
  const { code, stdout, stderr } = await lockstep(...args);
  expect({ code, stdout }, stderr).toEqual({ code: exitCode, stdout: '' });
  for (const word of words) expect(stderr).toContain(word);
}

interface ShownNode {
  node: { ready?: boolean; notReadyReason?: string; incarnation: string };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}

describe('a move that cannot be', () => {
  it('to the node where the VM is, refused by the Scheduler and by the agent itself', async () => {
    const guest = await startGuest('h1');
    await refused(PRECONDITION, ['SAME_NODE', guest.name, 'h1'], 'vm', 'migrate', guest.name, 'h1');

    const h1 = hostNamed(lab, 'h1');
    const definition = () => virsh(h1, ['dumpxml', guest.id]);
    const before = await definition();
    const { leaders } = await shown<{ leaders: { role: string; leaderEpoch: string }[] }>('cluster', 'status');
    const leading = leaders.find(({ role }) => role === 'LEADER_ROLE_SCHEDULER');
    const { node } = await shown<ShownNode>('node', 'show', 'h1');
    const agent = mesh.nodeAgent(`${h1.addresses.a}:${ports['node-agent']}`);
    const vote = await agent.prepare({
      header: {
        leaderRole: LeaderRole.SCHEDULER,
        leaderEpoch: BigInt(leading?.leaderEpoch ?? 0),
        incarnation: BigInt(node.incarnation),
      },
      order: { vmId: guest.id, placementEpoch: 1_000n, migrationId: randomUUID() },
      role: MigrationRole.TARGET,
      domainXml: before,
      persistentXml: guest.xml,
      spec: { domainXml: guest.xml },
    });
    expect(vote).toMatchObject({ granted: false, refusals: [{ reason: 'SAME_NODE' }] });
    expect(await definition()).toBe(before);
    await guest.runsOnlyOn('h1');
    await guest.countsOn();
    // Nothing of the refused vote stands in the way of a real one.
    await ok('vm', 'migrate', guest.name, 'h2', '--force-live', '--wait');
    await ok('vm', 'migrate', guest.name, 'h1', '--force-live', '--wait');
    await guest.countsOn();
  });

  it('of a VM, or to a node, that nobody knows', async () => {
    const guest = await startGuest('h1');
    await refused(NOT_FOUND, ['VM_NOT_FOUND', 'nobody'], 'vm', 'migrate', 'nobody', 'h2');
    await refused(NOT_FOUND, ['NODE_NOT_FOUND', 'nowhere'], 'vm', 'migrate', guest.name, 'nowhere');
    await refused(NOT_FOUND, ['MIGRATION_NOT_FOUND'], 'migration', 'cancel', randomUUID());
    expect(await shown<object[]>('migration', 'list', '--vm', guest.name)).toEqual([]);
    await guest.runsOnlyOn('h1');
  });
});

describe('a definition that is refused', () => {
  const define = (xml: string, exitCode: number, words: readonly string[], ...options: string[]): Promise<void> =>
    withXmlFile(xml, (file) => refused(exitCode, words, 'vm', 'define', file, ...options));

  it('because its name or its UUID is taken', async () => {
    const guest = await startGuest('h2');
    const other = randomUUID();
    await define(guest.xml.replace(guest.id, other), PRECONDITION, ['VM_NAME_TAKEN', guest.name]);
    await define(guest.xml.replace(`<name>${guest.name}`, '<name>twin'), PRECONDITION, ['VM_ID_TAKEN', guest.id]);
    expect(await shown<object[]>('vm', 'list')).toHaveLength(1);
    await guest.runsOnlyOn('h2');
    await guest.countsOn();
  });

  const whole = '<domain type="qemu"><name>x</name><memory>16384</memory><os><type>hvm</type></os></domain>';
  it.each([
    ['no XML', 'this is not XML', ['INVALID_DOMAIN_XML']],
    ['two names', whole.replace('</name>', '</name><name>y</name>'), ['INVALID_DOMAIN_XML', '/domain/name']],
    ['no memory', whole.replace(/<memory>.*<\/memory>/, ''), ['INVALID_DOMAIN_XML', '/domain/memory']],
    [
      'entities that grow',
      `<!DOCTYPE d [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>${whole.replace('>x<', '>&b;<')}`,
      ['INVALID_DOMAIN_XML'],
    ],
    ['a file from the host', `<!DOCTYPE d SYSTEM "file:///etc/passwd">${whole}`, ['INVALID_DOMAIN_XML']],
    ['too large', whole.replace('>x<', `>x<!--${'x'.repeat(256 * 1024)}--><`), ['DOMAIN_XML_TOO_LARGE', '256 KiB']],
  ])('because of %s', async (_what, xml, words) => {
    await define(xml, USAGE, words, '--node', 'h1');
    // The Scheduler says so too, to whoever does not come through the CLI.
    const direct = mesh.scheduler.defineVm({ spec: { domainXml: xml }, node: 'h1', start: true });
    await expect(direct).rejects.toSatisfy((error) => error instanceof ApiError && error.reason === words[0]);
    expect((await mesh.scheduler.listVms({})).vms).toEqual([]);
    for (const host of lab.hosts) expect((await virsh(host, ['list', '--all', '--name'])).trim()).toBe('');
  });
});

describe('surroundings that are wrong', () => {
  it('an address nobody listens on', async () => {
    const nobody = `127.0.0.1:${await freePort()}`;
    const { code, stdout, stderr } = await lockstepAt([nobody], 'vm', 'list', '--deadline', '5s');
    expect({ code, stdout }, stderr).toEqual({ code: UNAVAILABLE, stdout: '' });
    expect(stderr).toContain('SERVER_UNREACHABLE');
    expect(stderr).toContain(nobody);
  });

  it('a libvirt socket that is not there: that node takes no VMs and says why, the others go on', async () => {
    const guest = await startGuest('h1');
    const h3 = hostNamed(lab, 'h3');
    const socket = '/run/libvirt/nobody-sock';
    await killPart('h3', 'node-agent');
    const config = parse(readFileSync(join(h3.dir, 'lockstep/node-agent.yaml'), 'utf8')) as { hypervisor: object };
    const agent = await startService('node-agent', {
      before: inside(h3),
      config: () => ({ ...config, hypervisor: { ...config.hypervisor, socket } }),
    });
    try {
      await until('h3 says what is wrong', 60_000, async () => {
        const { node } = await shown<ShownNode>('node', 'show', 'h3');
        const reason = node.notReadyReason ?? '';
        return node.ready !== true && reason.includes(socket) ? undefined : `it says: ${reason}`;
      });
      await refused(PRECONDITION, ['NODE_NOT_READY', 'h3', socket], 'vm', 'migrate', guest.name, 'h3', '--force-live');
      await ok('vm', 'migrate', guest.name, 'h2', '--force-live', '--wait');
      await guest.runsOnlyOn('h2');
      await guest.countsOn();
    } finally {
      await agent.end();
      await startPartAgain('h3', 'node-agent');
    }
    await until('h3 is ready again', 60_000, async () => {
      const { node } = await shown<ShownNode>('node', 'show', 'h3');
      return node.ready === true ? undefined : (node.notReadyReason ?? 'not ready');
    });
    await ok('vm', 'migrate', guest.name, 'h3', '--force-live', '--wait');
    await guest.runsOnlyOn('h3');
    await guest.countsOn();
  });

  it('a Consul token that is wrong: the Scheduler says so, and not the token', async () => {
    const consul = await startConsul({ acl: true });
    const wrong = '99999999-8888-7777-6666-555555555555';
    const port = await freePort();
    const scheduler = await startService('scheduler', {
      config: (folder) => {
        const tokenFile = join(folder, 'token');
        writeFileSync(tokenFile, `${wrong}\n`, { mode: 0o600 });
        return {
          node: 'contract',
          listen: `127.0.0.1:${port}`,
          consul: { address: new URL(consul.address).host, token_file: tokenFile },
        };
      },
    });
    try {
      await until('the Scheduler logs why', 30_000, () =>
        Promise.resolve(scheduler.log().includes('STORE_DENIED') ? undefined : scheduler.log()),
      );
      const { code, stderr } = await lockstepAt([`127.0.0.1:${port}`], 'vm', 'list', '--deadline', '10s');
      expect(code, stderr).toBe(UNAVAILABLE);
      for (const word of ['STORE_DENIED', 'consul.token_file']) expect(stderr).toContain(word);
      expect(`${scheduler.log()}${stderr}`).not.toContain(wrong);
    } finally {
      await scheduler.end();
      await consul.dispose();
    }
  });
});
