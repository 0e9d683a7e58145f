// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { answerOf } from './ipmitool.js';
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
  it('ancestor 17: are read as bytes, whatever stands around them and in which letters', () => {
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
