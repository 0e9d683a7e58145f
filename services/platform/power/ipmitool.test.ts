// SPDX-License-Identifier: Apache-2.0
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../clock/system.js';
import { answerOf, createIpmitool } from './ipmitool.js';
import { BmcError } from './power.js';

const read = (exitCode: number, stdout: string, stderr = '') => answerOf('the BMC', { exitCode, stdout, stderr }, 'secret');

function failure(stderr: string): BmcError {
  try {
    read(1, '', stderr);
  } catch (error) {
    if (error instanceof BmcError) return error;
  }
  throw new Error('it was no failure');
}

describe("ipmitool's words", () => {
  it('are read as bytes, whatever stands around them and in which letters', () => {
    expect(read(0, 'Loading IANA PEN Registry...\nRAW RSP (3 bytes)\n 01 0A ff\n')).toEqual({ code: 0, data: [1, 10, 255] });
    expect(read(0, '\n')).toEqual({ code: 0, data: [] });
  });

  it('tell the completion code of a refusal', () => {
    const said = 'Unable to send RAW command (channel=0x0 netfn=0x6 lun=0x0 cmd=0x37 rsp=0xc1): Invalid command';
    expect(read(1, '', said)).toEqual({ code: 0xc1, data: [] });
  });

  it.each([
    ['wrong-credentials', '> RAKP 2 HMAC is invalid'],
    ['wrong-credentials', 'RAKP 2 message indicates an error : unauthorized name'],
    ['no-privilege', 'RAKP 2 message indicates an error : unauthorized role or privilege level requested'],
    ['no-privilege', 'Unable to send RAW command (channel=0x0 netfn=0x0 lun=0x0 cmd=0x2 rsp=0xd4): Insufficient privilege level'],
    ['unreachable', 'Get Auth Capabilities error'],
    ['unreachable', 'Address lookup for bmc.example failed'],
    ['failed', 'Error in open session response message : invalid authentication algorithm'],
    ['failed', ''],
  ])('mean %s: %s', (kind, line) => {
    const stderr = `Loading IANA PEN Registry...\n${line}\nError: Unable to establish IPMI v2 / RMCP+ session\n`;
    expect(failure(stderr).kind).toBe(kind);
    expect(failure(stderr.toUpperCase().replace('RSP=0XD4', 'RSP=0xD4')).kind).toBe(kind);
  });

  it('are shown without the password, if they should ever hold it', () => {
    expect(failure('Invalid password "secret"').message).toBe(
      'the BMC does not accept user and password: Invalid password "[redacted]"',
    );
  });
});

describe('a BMC that loses packets', () => {
  let folder: string;
  beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'lockstep-ipmitool-'))));
  afterEach(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  /** Answers in the attempts that are named, and gets no session in the others; notes every attempt. */
  function tool(answers: readonly number[], otherwise = 'Error: Unable to establish IPMI v2 / RMCP+ session') {
    const program = join(folder, 'ipmitool');
    const calls = join(folder, 'calls');
    const lines = [`echo x >>${calls}`, `case $(wc -l <${calls}) in ${answers.join('|')}) echo ' 01' ;; *) echo '${otherwise}' >&2; exit 1 ;; esac`];
    writeFileSync(program, `#!/bin/sh\n${lines.join('\n')}\n`);
    chmodSync(program, 0o755);
    const target = { address: '127.0.0.1', port: 623, username: 'u', password: 'p', cipherSuite: 3, program };
    const ask = createIpmitool(target, systemClock);
    return { ask: () => ask([0, 1], { deadlineMs: 20_000 }), calls: () => readFileSync(calls, 'utf8').length / 2 };
  }

  it('is asked again where it answered a moment ago', async () => {
    const { ask, calls } = tool([1, 4]);
    await ask();
    expect(await ask()).toEqual({ code: 0, data: [1] });
    expect(calls()).toBe(4);
  });

  it('is given up after some tries, and at once where it never answered', async () => {
    const never = tool([99]);
    await expect(never.ask()).rejects.toThrow(BmcError);
    expect(never.calls()).toBe(1);
    rmSync(join(folder, 'calls'));
    const once = tool([1]);
    await once.ask();
    await expect(once.ask()).rejects.toThrow(BmcError);
    expect(once.calls()).toBe(4);
  });

  it('is not asked again with a password that it refused', async () => {
    const { ask, calls } = tool([1], '> RAKP 2 HMAC is invalid; Error: Unable to establish IPMI v2 / RMCP+ session');
    await ask();
    await expect(ask()).rejects.toMatchObject({ kind: 'wrong-credentials' });
    expect(calls()).toBe(2);
  });

  it('is not told twice what it may have been told once', async () => {
    const { ask, calls } = tool([1], 'Unable to send RAW command (channel=0x0 netfn=0x0 lun=0x0 cmd=0x2): timeout');
    await ask();
    await expect(ask()).rejects.toThrow(BmcError);
    expect(calls()).toBe(2);
  });
});
