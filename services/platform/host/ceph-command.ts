// SPDX-License-Identifier: Apache-2.0
import { access } from 'node:fs/promises';
import { z } from 'zod';
import { DeadlineExceeded, type Clock } from '../clock/clock.js';
import type { CallLimit } from '../hypervisor/hypervisor.js';
import { CannotRun, runProgram, type ProgramOutput } from '../process/run-program.js';
import { CephError, type Ceph, type CephReport } from './ceph.js';

export interface CephCommandOptions {
  clock: Clock;
  /** Without this file the host has no Ceph. */
  configFile: string;
  /** Whom to speak as; `admin`, as Ceph itself has it, unless told. */
  user?: string | undefined;
  /** The program; `ceph` of the PATH unless told. */
  program?: string;
}

/** After this the program is killed, with all that it started. It is told the same limit for its connecting. */
const LIMIT_SECONDS = 2;
const LONGEST_WORDS = 300;

const osdDump = z.looseObject({ osds: z.array(z.looseObject({ osd: z.int(), up: z.int(), in: z.int() })) });

const status = z.looseObject({
  health: z.looseObject({
    status: z.string(),
    checks: z.record(z.string(), z.looseObject({ summary: z.looseObject({ message: z.string() }) })).default({}),
  }),
  pgmap: z
    .looseObject({ bytes_used: z.int().default(0), bytes_total: z.int().default(0) })
    .default({ bytes_used: 0, bytes_total: 0 }),
});

/** Ceph by its command, which costs a process; a question that hangs costs two seconds and nobody else anything. */
export function createCephCommand({ clock, configFile, user = 'admin', program = 'ceph' }: CephCommandOptions): Ceph {
  const ask = async (words: readonly string[], { deadlineMs, signal }: CallLimit): Promise<unknown> => {
    const what = `ceph ${words.join(' ')}`;
    const limitMs = Math.min(deadlineMs, LIMIT_SECONDS * 1_000);
    const argv = [program, '--conf', configFile, '--id', user, ...words, '--format', 'json', '--connect-timeout', String(LIMIT_SECONDS)];
    let output: ProgramOutput;
    try {
      output = await runProgram(clock, argv, { deadlineMs: limitMs, signal });
    } catch (error) {
      if (error instanceof DeadlineExceeded) throw new DeadlineExceeded(`${what} (killed)`, limitMs);
      if (error instanceof CannotRun && error.code !== 'ENOENT') throw new CephError(error.message);
      throw error;
    }
    if (output.exitCode !== 0) throw new CephError(`${what}: ${lastWords(output)}`);
    try {
      return JSON.parse(output.stdout);
    } catch {
      throw new CephError(`${what} said what is not JSON`);
    }
  };

  return {
    async report(call) {
      if (!(await isThere(configFile))) return undefined;
      try {
        // One after the other: where the first is not answered, the second need not be asked.
        const dump = await ask(['osd', 'dump'], call);
        return reportOf(dump, await ask(['status'], call));
      } catch (error) {
        if (error instanceof CannotRun) return undefined;
        throw error;
      }
    },
  };
}

/** What `ceph osd dump` and `ceph status` say. Throws CephError. */
export function reportOf(dump: unknown, state: unknown): CephReport {
  const [osds, told] = [osdDump.safeParse(dump), status.safeParse(state)];
  if (!osds.success) throw new CephError('ceph osd dump said what is not understood');
  if (!told.success) throw new CephError('ceph status said what is not understood');
  const { health, pgmap } = told.data;
  return {
    health: health.status,
    detail: Object.values(health.checks)
      .map(({ summary }) => summary.message)
      .join('; '),
    osds: osds.data.osds.map((osd) => ({ id: osd.osd, up: osd.up === 1, in: osd.in === 1 })),
    usedBytes: BigInt(pgmap.bytes_used),
    totalBytes: BigInt(pgmap.bytes_total),
  };
}

async function isThere(file: string): Promise<boolean> {
  try {
    await access(file);
    return true;
  } catch {
    return false;
  }
}

function lastWords({ stderr, exitCode }: ProgramOutput): string {
  const words = stderr.trim().split('\n').at(-1) ?? '';
  return words === '' ? `it ended with ${String(exitCode)}` : words.slice(0, LONGEST_WORDS);
}
