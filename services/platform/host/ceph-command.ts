// SPDX-License-Identifier: Apache-2.0
import { z } from 'zod';
import type { CallLimit } from '../hypervisor/hypervisor.js';
import { CannotRun } from '../process/run-program.js';
import { CephError, type Ceph, type CephReport } from './ceph.js';
import { hasCeph, jsonOf, runCeph, type CephProgramOptions } from './ceph-program.js';

export interface CephCommandOptions extends CephProgramOptions {
  /** The program; `ceph` of the PATH unless told. */
  program?: string;
}

/** After this the program is killed, with all that it started. It is told the same limit for its connecting. */
const LIMIT_SECONDS = 2;

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
export function createCephCommand({ program = 'ceph', ...options }: CephCommandOptions): Ceph {
  const ask = async (asked: readonly string[], call: CallLimit): Promise<unknown> => {
    const words = [...asked, '--format', 'json', '--connect-timeout', String(LIMIT_SECONDS)];
    const printed = await runCeph(options, { program, words, limitMs: LIMIT_SECONDS * 1_000 }, call);
    return jsonOf(printed, `ceph ${asked.join(' ')}`);
  };

  return {
    async report(call) {
      if (!(await hasCeph(options))) return undefined;
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
