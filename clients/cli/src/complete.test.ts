// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { complete } from './complete.js';
import { buildProgram } from './program.js';
import { PlayedTerminal } from './testing/terminal.js';

const program = buildProgram(new PlayedTerminal(), () => undefined);

describe('complete', () => {
  it('offers the commands, and not the hidden one', () => {
    const { candidates } = complete(program, ['']);
    expect(candidates).toEqual(expect.arrayContaining(['vm', 'node', 'migration', 'cluster', 'fence', 'dev']));
    expect(candidates).not.toContain('__complete');
  });

  it.each([
    [['vm', 'show', ''], 'vm'],
    [['vm', 'migrate', 'c1', ''], 'node'],
    [['vm', 'migrate', '--wait', 'c1', ''], 'node'],
    [['vm', 'migrate', '--bandwidth', '1GiB', ''], 'vm'],
    [['vm', 'list', '--node', ''], 'node'],
    [['-o', 'json', 'migration', 'show', ''], 'migration'],
    [['vm', 'migrate', 'c1', 'h2', ''], undefined],
  ])('after %j names of kind %s', (words, live) => {
    expect(complete(program, words).live).toBe(live);
  });

  it('offers choices of options and arguments', () => {
    expect(complete(program, ['vm', 'list', '-o', '']).candidates).toContain('yaml');
    expect(complete(program, ['completion', '']).candidates).toEqual(['bash', 'zsh', 'fish']);
  });

  it("offers a command's options and the global ones", () => {
    const { candidates, prefix } = complete(program, ['vm', 'stop', '--']);
    expect(candidates).toEqual(expect.arrayContaining(['--force', '--wait', '--server', '--output']));
    expect(prefix).toBe('--');
  });

  it('remembers which cluster was named', () => {
    expect(complete(program, ['--server', 'a:1', 'vm', 'show', '']).typed['server']).toBe('a:1');
    expect(complete(program, ['--server=b:2', 'vm', 'show', '']).typed['server']).toBe('b:2');
  });
});
