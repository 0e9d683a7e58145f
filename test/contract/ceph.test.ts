// SPDX-License-Identifier: Apache-2.0
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { attempt, until } from '../../deploy/lab/api.js';
import { systemClock } from '../../services/platform/clock/system.js';
import { createCephCommand } from '../../services/platform/host/ceph-command.js';

/** Longer than the two seconds that the command has, and than a busy machine takes to start a shell. */
const CALL = { deadlineMs: 60_000 };

const DUMP = JSON.stringify({
  epoch: 12,
  osds: [
    { osd: 0, up: 1, in: 1, state: ['exists', 'up'] },
    { osd: 3, up: 0, in: 1, state: ['exists'] },
  ],
});
const STATUS = JSON.stringify({
  health: { status: 'HEALTH_WARN', checks: { OSD_DOWN: { severity: 'HEALTH_WARN', summary: { message: '1 osds down', count: 1 } } } },
  pgmap: { bytes_used: 2 ** 30, bytes_total: 2 ** 40 },
});

let folder: string;
let configFile: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lockstep-ceph-'));
  configFile = join(folder, 'ceph.conf');
  writeFileSync(configFile, '');
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** A program that stands in for `ceph`. */
function played(script: string): string {
  const program = join(folder, 'ceph');
  writeFileSync(program, `#!/bin/sh\n${script}\n`);
  chmodSync(program, 0o755);
  return program;
}

const answering = `echo "$@" >>"$(dirname "$0")"/asked
case "$*" in *'osd dump'*) echo '${DUMP}' ;; *) echo '${STATUS}' ;; esac`;

describe('the command of Ceph', () => {
  it('is asked with its own limit, and what it says is read', async () => {
    const ceph = createCephCommand({ clock: systemClock, configFile, program: played(answering) });
    expect(await ceph.report(CALL)).toEqual({
      health: 'HEALTH_WARN',
      detail: '1 osds down',
      osds: [
        { id: 0, up: true, in: true },
        { id: 3, up: false, in: true },
      ],
      usedBytes: 2n ** 30n,
      totalBytes: 2n ** 40n,
    });
    const { stdout } = await attempt('cat', [join(folder, 'asked')]);
    expect(stdout.trim().split('\n').sort()).toEqual([
      `--conf ${configFile} --id admin osd dump --format json --connect-timeout 2`,
      `--conf ${configFile} --id admin status --format json --connect-timeout 2`,
    ]);
  });

  it('that hangs is killed after two seconds: no process of it is left, nor one that it started', async () => {
    const mark = `300.${String(process.pid)}${String(Date.now() % 1_000_000)}`;
    const ceph = createCephCommand({ clock: systemClock, configFile, program: played(`sleep ${mark} & exec sleep ${mark}`) });
    await expect(ceph.report(CALL)).rejects.toThrow(/ceph (osd dump|status) \(killed\).*2000 ms/);
    await until('nothing of it is left', 20_000, async () => {
      const { stdout } = await attempt('pgrep', ['-f', `sleep ${mark}`]);
      return stdout === '' ? undefined : `processes ${stdout}`;
    });
  });

  it('that fails is told in its last words', async () => {
    const program = played("echo 'a long story' >&2; echo 'RADOS timed out' >&2; exit 110");
    const ceph = createCephCommand({ clock: systemClock, configFile, program });
    await expect(ceph.report(CALL)).rejects.toThrow('RADOS timed out');
  });

  it.each([
    ['no JSON', 'echo hello'],
    ['another shape', 'echo {}'],
  ])('that answers %s is not understood, and no figures are made of it', async (_what, script) => {
    const ceph = createCephCommand({ clock: systemClock, configFile, program: played(script) });
    await expect(ceph.report(CALL)).rejects.toThrow(/not JSON|not understood/);
  });

  it('that is not there, or has no configuration, is no error: the host has no Ceph', async () => {
    const absent = createCephCommand({ clock: systemClock, configFile, program: join(folder, 'nothing') });
    expect(await absent.report(CALL)).toBeUndefined();
    const program = played('echo asked >&2; exit 1');
    const bare = createCephCommand({ clock: systemClock, configFile: join(folder, 'nowhere.conf'), program });
    expect(await bare.report(CALL)).toBeUndefined();
  });
});
