// SPDX-License-Identifier: Apache-2.0
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { ConfigError, configPath, loadConfig, parseConfig, readSecret } from './load.js';
import { consulSchema, insecureSchema, listenSchema, tlsSchema } from './schemas.js';

const schema = z.strictObject({
  node: z.string(),
  listen: listenSchema.default('127.0.0.1:7701'),
  mode: z.enum(['real', 'simulated']).default('real'),
  tls: tlsSchema.optional(),
  insecure: insecureSchema.optional(),
  consul: consulSchema.prefault({}),
});

function problems(text: string): string[] {
  try {
    parseConfig('agent.yaml', text, schema);
  } catch (error) {
    if (error instanceof ConfigError) return error.message.split('\n');
    throw error;
  }
  return [];
}

describe('a configuration', () => {
  it('comes out as the code names things', () => {
    const text = 'node: h1\nlisten: "[::1]:7701"\ninsecure: {allow_cidrs: [10.0.0.0/24]}\nconsul: {token_file: /t}\n';
    expect(parseConfig('agent.yaml', text, schema)).toEqual({
      node: 'h1',
      listen: '[::1]:7701',
      mode: 'real',
      insecure: { allowCidrs: ['10.0.0.0/24'] },
      consul: { address: '127.0.0.1:8500', tokenFile: '/t', tls: undefined },
    });
  });

  it.each([
    ['an unknown key', 'node: h1\nlisen: x:1\n', 'agent.yaml:2: lisen: unknown; did you mean listen?'],
    ['an unknown key inside', 'node: h1\nconsul:\n  adress: a:1\n', 'agent.yaml:3: consul.adress: unknown; did you mean address?'],
    ['a key with a dash', 'node: h1\ninsecure:\n  allow-cidrs: []\n', 'agent.yaml:3: insecure.allow-cidrs: unknown; did you mean allow_cidrs?'],
    ['a key like no other', 'node: h1\ntls: {ca_file: a, cert_file: b, key_file: c, zzz: 1}\n', 'agent.yaml:2: tls.zzz: unknown; known here: ca_file, cert_file, key_file'],
    ['a wrong type', 'node: 17\n', 'agent.yaml:1: node: got 17, want string'],
    ['a missing field', 'mode: real\n', 'agent.yaml: node: got nothing, want string'],
    ['a word not in the list', 'node: h1\nmode: fake\n', 'agent.yaml:2: mode: got "fake", want real or simulated'],
    ['a listen without port', 'node: h1\nlisten: h1\n', 'agent.yaml:2: listen: got "h1", want host:port, e.g. 10.0.0.1:7701'],
    ['a port too high', 'node: h1\nlisten: h1:70000\n', 'agent.yaml:2: listen: got "h1:70000", want host:port, e.g. 10.0.0.1:7701'],
    ['an address without a port to reach', 'node: h1\nconsul:\n  address: h1:0\n', 'agent.yaml:3: consul.address: got "h1:0", want host:port, e.g. 10.0.0.1:7701'],
    ['a bad network', 'node: h1\ninsecure:\n  allow_cidrs:\n    - 10.0.0.0/24\n    - lan\n', 'agent.yaml:5: insecure.allow_cidrs[1]: got "lan", want ADDRESS/BITS, e.g. 10.0.0.0/24'],
    ['an empty file', '', 'agent.yaml: node: got nothing, want string'],
    ['a list', '- a\n', 'agent.yaml:1: got ["a"], want object'],
  ])('with %s is refused', (_what, text, want) => {
    expect(problems(text)).toEqual([want]);
  });

  it('with two keys alike or broken YAML is refused with the line', () => {
    expect(problems('node: h1\nnode: h2\n')[0]).toMatch(/^agent\.yaml:2: Map keys must be unique/);
    expect(problems('node: [h1\nmode: real\n')[0]).toMatch(/^agent\.yaml:\d: /);
  });

  it('tells all that is wrong at once, and no secret', () => {
    const all = problems('listen: 5\ntoken: hunter2\nconsul: {token_file: 3}\n');
    expect(all).toHaveLength(4);
    expect(all.join()).not.toContain('hunter2');
  });

  it('does not grow by its own references', () => {
    const bomb = ['a: &a [x,x,x,x,x,x,x,x,x]', ...'bcdefghi'.split('').map((c, i) => `${c}: &${c} [${`*${'abcdefgh'.charAt(i)},`.repeat(9)}]`)];
    expect(() => parseConfig('agent.yaml', bomb.join('\n'), schema)).toThrow(/alias/i);
  });
});

describe('files', () => {
  let folder = '';
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'lockstep-config-'));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it('are read by their path, and a missing one is named', async () => {
    const file = join(folder, 'agent.yaml');
    await writeFile(file, 'node: h1\n');
    expect((await loadConfig(file, schema)).node).toBe('h1');
    await expect(loadConfig(`${file}.not`, schema)).rejects.toThrow(`${file}.not: no such file; --config FILE names another`);
  });

  it('with a secret are trimmed, and refused where everybody may read them', async () => {
    const file = join(folder, 'token');
    await writeFile(file, 'hunter2\n', { mode: 0o600 });
    expect(await readSecret(file)).toBe('hunter2');
    await chmod(file, 0o644);
    await expect(readSecret(file)).rejects.toThrow(`chmod o= ${file}`);
    await expect(readSecret(file)).rejects.not.toThrow('hunter2');
  });

  it('are named on the command line, or are where they usually are', () => {
    expect(configPath(['--config', '/x.yaml'], '/usual.yaml')).toBe('/x.yaml');
    expect(configPath([], '/usual.yaml')).toBe('/usual.yaml');
    expect(() => configPath(['--confg', 'x'], '/usual.yaml')).toThrow(/--confg.*known: --config FILE/);
  });
});
