// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { runCommandLine } from './program.js';
import { PlayedTerminal } from './testing/terminal.js';

type Ended = PlayedTerminal & { code: number };

async function run(args: readonly string[], setUp: Partial<PlayedTerminal> = {}): Promise<Ended> {
  const terminal = new PlayedTerminal();
  terminal.env = { XDG_CONFIG_HOME: '/nonexistent' };
  Object.assign(terminal, setUp);
  const code = await runCommandLine(args, terminal);
  return Object.assign(terminal, { code });
}

describe('a wrong command line', () => {
  it.each([
    [['vm', 'migrate', 'c1', 'h2', '--shutdown', '--force-live'], 'lockstep vm migrate --help'],
    [['vm', 'migrate', 'c1', 'h2', '--dry-run', '--wait'], 'lockstep vm migrate --help'],
    [['vm', 'migrate', 'c1', '--bandwidth', 'fast'], 'lockstep vm migrate --help'],
    [['vm', 'migrate', 'c1', '--timeout', '100d'], 'lockstep vm migrate --help'],
    [['vm', 'migrate'], 'lockstep vm migrate --help'],
    [['vm', 'show', ''], 'lockstep vm show --help'],
    [['vm', 'show', 'a', 'b'], 'lockstep vm show --help'],
    [['vm', 'lsit'], 'lockstep vm --help'],
    [['vn'], 'lockstep --help'],
    [['vm', 'list', '-o', 'xml'], 'lockstep --help'],
    [['migration', 'list', '--limit', '0'], 'lockstep migration list --help'],
    [['completion', 'csh'], 'lockstep completion --help'],
  ])('%j exits 2 and names the help', async (args, next) => {
    const { code, stdout, stderr } = await run(args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain('  reason: USAGE\n');
    expect(stderr).toContain(`  next:   ${next}\n`);
  });

  it('suggests what was meant', async () => {
    expect((await run(['vm', 'lsit'])).stderr).toContain('Did you mean list?');
  });
});

describe('help', () => {
  it('goes to stdout where it was asked for', async () => {
    const { code, stdout, stderr } = await run(['vm', 'migrate', '--help']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toContain('--force-live');
    expect(stdout).toContain('--server');
  });

  it('goes to stderr, with exit code 2, where a command is missing', async () => {
    expect(await run([])).toMatchObject({ code: 2, stdout: '' });
    expect(await run(['vm'])).toMatchObject({ code: 2, stdout: '' });
  });
});

describe('vm undefine', () => {
  it('asks on a terminal, and changes nothing unless the answer is yes', async () => {
    const { code, stderr } = await run(['vm', 'undefine', 'c1'], { canAsk: true, answer: 'n' });
    expect(stderr).toContain('Forget c1?');
    expect(stderr).toContain('nothing was changed');
    expect(code).toBe(1);
  });

  it('goes on after yes', async () => {
    const { code, stderr } = await run(['vm', 'undefine', 'c1'], { canAsk: true, answer: 'yes' });
    expect(stderr).toContain('NO_CLUSTER');
    expect(code).toBe(2);
  });

  it('names --yes where there is no terminal', async () => {
    const { code, stderr } = await run(['vm', 'undefine', 'c1']);
    expect(stderr).toContain('next:   lockstep vm undefine c1 --yes');
    expect(code).toBe(2);
  });
});

describe('vm define', () => {
  it.each([
    ['', 'INVALID_DOMAIN_XML'],
    [' \n', 'INVALID_DOMAIN_XML'],
    ['x'.repeat(256 * 1024 + 1), 'DOMAIN_XML_TOO_LARGE'],
    ['x'.repeat(256 * 1024), 'NO_CLUSTER'],
  ])('checks stdin before it looks for a cluster', async (stdin, reason) => {
    const { code, stderr } = await run(['vm', 'define', '-'], { stdin });
    expect(stderr).toContain(`reason: ${reason}`);
    expect(code).toBe(2);
  });

  it('refuses what is not a file, not there, or not text', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'lockstep-define-'));
    try {
      const binary = join(folder, 'binary');
      writeFileSync(binary, Buffer.from([0x3c, 0xff, 0xfe]));
      expect((await run(['vm', 'define', folder])).stderr).toContain('FILE_UNREADABLE');
      expect((await run(['vm', 'define', join(folder, 'none')])).stderr).toContain('FILE_UNREADABLE');
      expect((await run(['vm', 'define', binary])).stderr).toContain('INVALID_DOMAIN_XML');
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
