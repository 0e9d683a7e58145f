// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { LockstepError } from '../../core/errors/catalogue.js';
import { createLogger, type LoggerOptions } from './pino.js';

function capture(options: Partial<LoggerOptions>) {
  const lines: string[] = [];
  const destination = { write: (text: string) => lines.push(text) };
  return { log: createLogger({ name: 'agent', destination, ...options }), lines };
}

function json(line: string | undefined): Record<string, unknown> {
  return JSON.parse(line ?? '') as Record<string, unknown>;
}

describe('lines for programs', () => {
  it('are one JSON object each, with state, subtask and fields', () => {
    const { log, lines } = capture({});
    log.child('migration').child('0192').warn('does not converge', { vm: 'counter', sentBytes: 5n });
    expect(lines).toHaveLength(1);
    expect(json(lines[0])).toMatchObject({
      level: 'warn',
      name: 'agent',
      state: 'w',
      task: 'migration/0192',
      msg: 'does not converge',
      fields: { vm: 'counter', sentBytes: '5' },
    });
  });

  it('tell an error with its reason and cause', () => {
    const { log, lines } = capture({});
    const error = new LockstepError('NO_FIT', 'h2 is full', { node: 'h2' }, { cause: new Error('1 GiB short') });
    log.error('no vote', { error });
    expect(json(lines[0])).toMatchObject({
      state: 'e',
      fields: { error: { reason: 'NO_FIT', message: 'h2 is full', cause: { message: '1 GiB short' } } },
    });
  });

  it('survive whatever they are given', () => {
    const { log, lines } = capture({});
    const loop: Record<string, unknown> = { big: 'x'.repeat(100_000), bytes: new Uint8Array(9), fn: () => 1 };
    loop['self'] = loop;
    log.info('odd', { loop, nothing: undefined, set: new Set([1n]), map: new Map([['a', 1n]]) });
    expect(lines[0]?.length).toBeLessThan(100_000);
    expect(json(lines[0])).toMatchObject({ fields: { set: ['1'], map: { a: '1' } } });
  });
});

describe('secrets', () => {
  it.each([{ pretty: true }, { pretty: false }])('are in no line (%o)', (options) => {
    const { log, lines } = capture(options);
    const pem = '-----BEGIN PRIVATE KEY-----\nMIIhunter2\n-----END PRIVATE KEY-----';
    log.info('starting', {
      password: 'hunter2',
      bmc: { userPassword: 'hunter2', user: 'admin' },
      consul: [{ token: 'hunter2', token_file: '/etc/lockstep/token' }],
      apiKey: 'hunter2',
      content: pem,
      error: new Error(pem),
    });
    expect(lines.join('')).not.toContain('hunter2');
    expect(lines.join('')).toContain('admin');
    expect(lines.join('')).toContain('/etc/lockstep/token');
  });
});

describe('debug lines', () => {
  it('come while they are switched on, in children too, timed and named', () => {
    const { log, lines } = capture({});
    const child = log.child('keepalive/vms');
    child.debug('not yet');
    log.setDebug(true);
    child.debug('seen');
    log.setDebug(false);
    child.debug('no more');
    expect(lines).toHaveLength(1);
    expect(json(lines[0])).toMatchObject({ state: 'd', task: 'keepalive/vms', msg: 'seen', sinceMs: expect.any(Number) as number });
  });

  it('are white for people', () => {
    const { log, lines } = capture({ pretty: true, colour: true, debug: true });
    log.child('keepalive/ceph').debug('answered');
    expect(lines[0]).toMatch(/^\x1b\[37m\d\d:\d\d:\d\d\.\d{3} d agent keepalive\/ceph: answered \+[\d.]+ms\x1b\[0m\n$/);
  });
});

describe('lines for people', () => {
  it('show state, subtask and fields without colours where there is no terminal', () => {
    const { log, lines } = capture({ pretty: true });
    log.ok('moved', { vm: 'counter', detail: 'two words' });
    expect(lines[0]).toMatch(/^\d\d:\d\d:\d\d\.\d{3} o agent: moved vm=counter detail="two words"\n$/);
  });

  it('do not let foreign text steer the terminal or forge a line', () => {
    const { log, lines } = capture({ pretty: true });
    log.info('guest said \x1b[2J\nfake', { name: 'a\nb' });
    expect(lines[0]).not.toContain('\x1b');
    expect(lines[0]?.trimEnd()).not.toContain('\n');
  });
});
