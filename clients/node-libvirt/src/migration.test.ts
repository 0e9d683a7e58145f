// SPDX-License-Identifier: Apache-2.0
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Connection, connect } from './connection.js';
import { MigrateFlag } from './constants.js';
import { isLibvirtError } from './errors.js';
import { procedures } from './procedures.js';
import { FakeServer } from './testing/fake-server.js';

const domain = { name: 'vm', uuid: '00112233-4455-6677-8899-aabbccddeeff', id: 3 };
const flags = MigrateFlag.LIVE | MigrateFlag.PERSIST_DEST | MigrateFlag.UNDEFINE_SOURCE;
const cookieOf = (text: string): Buffer => Buffer.from(`${text}\0`);

let server: FakeServer;
let connection: Connection;

beforeEach(async () => {
  server = await FakeServer.listen();
  connection = await connect({ socketPath: server.socketPath, keepaliveIntervalMs: 0 });
});
afterEach(async () => {
  await connection.close();
  await server.stop();
});

describe('the five phases', () => {
  it('pass parameters with libvirt\'s names and types, and cookies byte for byte', async () => {
    const seen: unknown[] = [];
    server.handle(procedures.domainMigrateBegin3Params, (args, call) => {
      seen.push(['begin', args.dom, args.params, args.flags]);
      call.reply({ cookieOut: cookieOf('B'), xml: '<domain/>' });
    });
    server.handle(procedures.domainMigratePrepare3Params, (args, call) => {
      seen.push(['prepare', Buffer.from(args.cookieIn).toString(), args.params]);
      call.reply({ cookieOut: cookieOf('P'), uriOut: null });
    });
    server.handle(procedures.domainMigratePerform3Params, (args, call) => {
      seen.push(['perform', Buffer.from(args.cookieIn).toString(), args.dconnuri]);
      call.reply({ cookieOut: cookieOf('F') });
    });
    server.handle(procedures.domainMigrateFinish3Params, (args, call) => {
      seen.push(['finish', Buffer.from(args.cookieIn).toString(), args.cancelled]);
      call.reply({ dom: domain, cookieOut: cookieOf('C') });
    });
    server.handle(procedures.domainMigrateConfirm3Params, (args, call) => {
      seen.push(['confirm', Buffer.from(args.cookieIn).toString(), args.cancelled]);
      call.reply(undefined);
    });
    const { migration } = connection;
    const begun = await migration.begin(domain, { params: { bandwidthMiBps: 20n }, flags });
    const prepared = await migration.prepare({
      cookie: begun.cookie,
      params: {
        destinationXml: begun.xml, persistentXml: '<p/>', migrateDisks: ['vda', 'vdb'],
        autoConvergeInitialPercent: 30, extra: [{ name: 'new.one', type: 'boolean', value: true }],
      },
      flags,
    });
    expect(prepared.uri).toBeNull();
    const step = { cookie: prepared.cookie, params: {}, flags };
    const performed = await migration.perform(domain, step, { deadlineMs: 'none' });
    const finished = await migration.finish({ cookie: performed.cookie, params: {}, flags, cancelled: false });
    expect(finished.domain).toEqual(domain);
    await migration.confirm(domain, { cookie: finished.cookie, params: {}, flags, cancelled: true });
    expect(seen).toEqual([
      ['begin', domain, [{ name: 'bandwidth', type: 'ullong', value: 20n }], flags],
      ['prepare', 'B\0', [
        { name: 'destination_xml', type: 'string', value: '<domain/>' },
        { name: 'persistent_xml', type: 'string', value: '<p/>' },
        { name: 'auto_converge.initial', type: 'int', value: 30 },
        { name: 'migrate_disks', type: 'string', value: 'vda' },
        { name: 'migrate_disks', type: 'string', value: 'vdb' },
        { name: 'new.one', type: 'boolean', value: true },
      ]],
      ['perform', 'P\0', null],
      ['finish', 'F\0', false],
      ['confirm', 'C\0', true],
    ]);
  });

  it('leave the connection open when perform is given up, and its late end is dropped', async () => {
    const performs = server.hang(procedures.domainMigratePerform3Params);
    const step = { cookie: new Uint8Array(0), params: {}, flags };
    await expect(connection.migration.perform(domain, step, { deadlineMs: 20 })).rejects.toMatchObject({
      name: 'LibvirtDeadlineError', sent: true,
    });
    // It may have been given up before the server read it.
    await expect.poll(() => performs.length).toBe(1);
    performs[0]?.reply({ cookieOut: cookieOf('F') });
    expect(await connection.host.hostname()).toBe('fake');
    expect(connection.load).toMatchObject({ inFlight: 0, lateReplies: 1 });
  });

  it('answer a cancelled finish with an error that means success', async () => {
    server.handle(procedures.domainMigrateFinish3Params, (_, call) => { call.fail(93, 'successfully aborted'); });
    const end = { cookie: new Uint8Array(0), params: {}, flags, cancelled: true };
    const error: unknown = await connection.migration.finish(end).catch((reason: unknown) => reason);
    expect(isLibvirtError(error, 'MIGRATE_FINISH_OK', 'NO_DOMAIN')).toBe(true);
  });
});
