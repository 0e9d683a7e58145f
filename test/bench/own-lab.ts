// SPDX-License-Identifier: Apache-2.0
import { down, layout, up, type Lab } from '#lab';

export type Say = (line: string) => void;

/** Runs `work` in a lab of the benchmarks' own, so that somebody's lab on this machine is left alone. */
export async function inOwnLab<T>(
  { withServices, say }: { withServices: boolean; say: Say },
  work: (lab: Lab) => Promise<T>,
): Promise<T> {
  if (process.getuid?.() !== 0) throw new Error('the benchmarks run on real parts, which needs root');
  const lab = layout({ ...process.env, LOCKSTEP_LAB: process.env['LOCKSTEP_LAB'] ?? 'lsb30' });
  // The CLI's own context file shall not name a cluster that is there for minutes.
  const env = { ...process.env, XDG_CONFIG_HOME: lab.stateDir };
  const stop = (): void => {
    say('interrupted: taking the lab down');
    void down(lab, { env }).finally(() => process.exit(130));
  };
  process.once('SIGINT', stop).once('SIGTERM', stop);
  // What an earlier run left, with its guests.
  await down(lab, { env });
  try {
    await up(lab, { withServices, report: say, env });
    return await work(lab);
  } finally {
    await down(lab, { env });
    process.off('SIGINT', stop).off('SIGTERM', stop);
  }
}
