// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { findCluster, openCluster } from './cluster.js';
import { CommandError } from './exit.js';

let config: string;
let env: Record<string, string>;

beforeEach(() => {
  config = mkdtempSync(join(tmpdir(), 'lockstep-context-'));
  env = { XDG_CONFIG_HOME: config };
});

afterEach(() => {
  rmSync(config, { recursive: true });
});

function writeContexts(text: string): void {
  mkdirSync(join(config, 'lockstep'), { recursive: true });
  writeFileSync(join(config, 'lockstep', 'context.yaml'), text);
}

function refusal(work: () => unknown): CommandError {
  try {
    work();
  } catch (error) {
    if (error instanceof CommandError) return error;
    throw error;
  }
  throw new Error('nothing was refused');
}

describe('findCluster', () => {
  it('takes the first that is named: --server, LOCKSTEP_SERVER, the current context', () => {
    writeContexts('current: a\ncontexts: {a: {servers: ["c:3"]}}');
    expect(findCluster({ server: 'a:1, b:2' }, { ...env, LOCKSTEP_SERVER: 'x:9' }).servers).toEqual(['a:1', 'b:2']);
    expect(findCluster({}, { ...env, LOCKSTEP_SERVER: 'x:9' }).servers).toEqual(['x:9']);
    expect(findCluster({}, env).servers).toEqual(['c:3']);
  });

  it('prefers a context named on the command line to the environment', () => {
    writeContexts('current: a\ncontexts: {a: {servers: ["c:3"]}, b: {servers: ["d:4"]}}');
    expect(findCluster({ context: 'b' }, { ...env, LOCKSTEP_SERVER: 'x:9' }).servers).toEqual(['d:4']);
  });

  it('falls back to ~/.config', () => {
    writeContexts('current: a\ncontexts: {a: {servers: ["c:3"]}}');
    mkdirSync(join(config, '.config'));
    expect(refusal(() => findCluster({}, { HOME: config })).message).toContain(join(config, '.config', 'lockstep'));
  });

  it('takes TLS files beside the context file by relative path', () => {
    writeContexts('current: a\ncontexts: {a: {servers: ["c:3"], tls: {ca: ca.pem, cert: /x/me.pem, key: me.key}}}');
    expect(findCluster({}, env).tls).toEqual({
      caFile: join(config, 'lockstep', 'ca.pem'),
      certFile: '/x/me.pem',
      keyFile: join(config, 'lockstep', 'me.key'),
    });
  });

  it.each(['a', 'a:', 'a:0', 'a:70000', ':1', 'http://a:1', 'a:1,', '[::1', 'a b:1'])('refuses %j', (server) => {
    expect(refusal(() => findCluster({ server }, env))).toMatchObject({ exitCode: 2, reason: 'INVALID_SERVER' });
  });

  it('takes IPv6 in brackets', () => {
    expect(findCluster({ server: '[fd00::1]:7702' }, env).servers).toEqual(['[fd00::1]:7702']);
  });

  it.each([
    ['current: [', 'CONTEXT_FILE_INVALID', 'context.yaml:'],
    ['[]', 'CONTEXT_FILE_INVALID', 'a mapping'],
    ['current: a', 'CONTEXT_FILE_INVALID', 'contexts must be'],
    ['current: b\ncontexts: {a: {servers: ["c:3"]}}', 'CONTEXT_UNKNOWN', 'it has: a'],
    ['current: toString\ncontexts: {a: {servers: ["c:3"]}}', 'CONTEXT_UNKNOWN', 'it has: a'],
    ['current: a\ncontexts: {a: {servers: []}}', 'CONTEXT_FILE_INVALID', 'contexts.a.servers'],
    ['current: a\ncontexts: {a: {servers: [7702]}}', 'CONTEXT_FILE_INVALID', 'contexts.a.servers[0]'],
    ['current: a\ncontexts: {a: {servers: ["c"]}}', 'INVALID_SERVER', 'context.yaml'],
    ['current: a\ncontexts: {a: {servers: ["c:3"], tls: {ca: x}}}', 'CONTEXT_FILE_INVALID', 'contexts.a.tls.cert'],
  ])('refuses the context file %j with %s', (text, reason, says) => {
    writeContexts(text);
    const refused = refusal(() => findCluster({}, env));
    expect(refused).toMatchObject({ exitCode: 2, reason });
    expect(refused.message).toContain(says);
  });

  it('refuses half a TLS identity', () => {
    expect(refusal(() => findCluster({ server: 'a:1', tlsCa: 'x' }, env)).reason).toBe('TLS_INCOMPLETE');
  });
});

describe('openCluster', () => {
  it('names a TLS file that cannot be read', async () => {
    const tls = { caFile: join(config, 'ca.pem'), certFile: 'x', keyFile: 'x' };
    await expect(openCluster({ servers: ['a:1'], tls }, 1000)).rejects.toMatchObject({
      exitCode: 2,
      reason: 'TLS_FILE_UNREADABLE',
    });
  });
});
