// SPDX-License-Identifier: Apache-2.0
import { openChannel } from '@lockstep/sdk/transport';
import { SchedulerServiceDefinition, type SchedulerServiceImplementation } from '@lockstep/sdk/v1';
import { ChannelCredentials, createChannel, createClient, Metadata } from 'nice-grpc';
import { readFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { plainTextGuard } from './access.js';
import { callerOf, identityOf } from './caller.js';
import { type Bench, createBench } from './testing/bench.js';
import { createTestAuthority, type TestAuthority } from './testing/certificates.js';

let authority: TestAuthority;
let stranger: TestAuthority;
beforeAll(() => {
  authority = createTestAuthority();
  stranger = createTestAuthority('stranger');
});
afterAll(() => {
  authority.remove();
  stranger.remove();
});

let bench: Bench;
beforeEach(() => {
  bench = createBench();
});
afterEach(() => bench.close());

/** Answers with the caller's name as the VM's. */
const whoAmI: Partial<SchedulerServiceImplementation> = {
  getVm: (_request, context) => Promise.resolve({ vm: { name: callerOf(context).name } }),
};

describe('mutual TLS', () => {
  it('hands the name in the certificate on, whatever the client claims', async () => {
    const server = await bench.scheduler(whoAmI, { tls: authority.issue('server', 'lockstep://h1') });
    const scheduler = bench.peers({ tls: authority.issue('alice', 'lockstep://alice') }).scheduler(server.address);
    expect((await scheduler.getVm({})).vm?.name).toBe('lockstep://alice');
    const metadata = Metadata().set('x-lockstep-identity', ['lockstep://root', 'lockstep://h1']);
    expect((await scheduler.getVm({}, { metadata })).vm?.name).toBe('lockstep://alice');
  });

  it('shows who forwards beside whom it forwards for', async () => {
    const server = await bench.scheduler(whoAmI, { tls: authority.issue('server', 'lockstep://h1') });
    const scheduler = bench.peers({ tls: authority.issue('mallory', 'lockstep://mallory') }).scheduler(server.address);
    const metadata = Metadata().set('x-lockstep-forwarded', 'lockstep://root');
    expect((await scheduler.getVm({}, { metadata })).vm?.name).toBe('lockstep://root via lockstep://mallory');
  });

  it('refuses a client without a certificate, with one of a stranger, and one that speaks plain text', async () => {
    const server = await bench.scheduler(whoAmI, { tls: authority.issue('server', 'lockstep://h1') });
    const without = createChannel(server.address, ChannelCredentials.createSsl(readFileSync(authority.caFile)));
    await expect(createClient(SchedulerServiceDefinition, without).getVm({})).rejects.toThrow(/UNAVAILABLE/);
    without.close();
    const strange = { ...stranger.issue('eve', 'lockstep://alice'), caFile: authority.caFile };
    await expect(bench.peers({ tls: strange }).scheduler(server.address).getVm({})).rejects.toMatchObject({ reason: 'NODE_UNREACHABLE' });
    await expect(bench.peers().scheduler(server.address).getVm({})).rejects.toMatchObject({ reason: 'NODE_UNREACHABLE' });
  });

  it('does not talk to a server of a stranger', async () => {
    const server = await bench.scheduler(whoAmI, { tls: stranger.issue('server', 'lockstep://h1') });
    const tls = authority.issue('bob', 'lockstep://bob');
    await expect(bench.peers({ tls }).scheduler(server.address).getVm({})).rejects.toMatchObject({ reason: 'NODE_UNREACHABLE' });
  });

  it('names the file that cannot be read', async () => {
    const tls = { ...authority.issue('server', 'lockstep://h1'), keyFile: '/nowhere/server.key' };
    await expect(bench.scheduler(whoAmI, { tls })).rejects.toThrow('tls keyFile: cannot read /nowhere/server.key');
    expect(() => openChannel('127.0.0.1:1', { tls })).toThrow('tls keyFile: cannot read /nowhere/server.key');
  });
});

describe('the name in a certificate', () => {
  it.each([
    ['DNS:h1, IP Address:10.0.0.1, URI:lockstep://h1', 'lockstep://h1'],
    ['IP Address:10.0.0.1, DNS:h1.example', 'h1.example'],
    ['email:alice@example.org', 'alice@example.org'],
    ['IP Address:10.0.0.1', undefined],
    ['', undefined],
    ['DNS:"h1, URI:lockstep://root"', undefined],
  ])('of %s is %s', (subjectAltName, name) => {
    expect(identityOf(subjectAltName)).toBe(name);
  });
});

describe('plain text', () => {
  const guard = plainTextGuard({ allowCidrs: ['10.1.0.0/16', 'fd00::/8'] });

  it.each(['127.0.0.1:5', '127.9.9.9:5', '::1:5', '::ffff:127.0.0.1:5', '10.1.2.3:5', '::ffff:10.1.2.3:5', 'fd00::1:5'])(
    'is taken from %s',
    (peer) => {
      expect(() => {
        guard(peer);
      }).not.toThrow();
    },
  );

  it.each(['10.2.0.1:5', '192.168.0.1:5', 'fe80::1:5', '::ffff:10.2.0.1:5', 'unknown', ''])('is refused from %s', (peer) => {
    expect(() => {
      guard(peer);
    }).toThrow(expect.objectContaining({ reason: 'NOT_ALLOWED' }));
  });

  it.each(['10.0.0.0', '10.0.0.0/33', 'fd00::/129', 'lan/8', '/8', '10.0.0.0/x'])('does not take %s for a network', (cidr) => {
    expect(() => plainTextGuard({ allowCidrs: [cidr] })).toThrow(expect.objectContaining({ reason: 'INVALID_FIELD' }));
  });
});
