// SPDX-License-Identifier: Apache-2.0
import { readFileSync, statSync } from 'node:fs';
import { checkContinuity, formatCount, generationOf, serialFile, type Disk, type Lab } from '#lab';

/** What a guest's output says of its life. */
export interface History {
  /** How often it was started after its first start: its memory was lost that often. */
  restarts: number;
  /** The last value that it printed. */
  last: number;
  /** Why this is not one history; empty where it is. */
  problems: string[];
}

const firstOf = (boot: number): number => boot * 0x0100_0000 + 1;

function textOf(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    return '';
  }
}

export function sizesOf(lab: Lab, guest: string): number[] {
  return lab.hosts.map((host) => {
    try {
      return statSync(serialFile(host, guest)).size;
    } catch {
      return 0;
    }
  });
}

/**
 * Reads what a guest printed on all hosts as one count without a break, or as two where it was started anew.
 *
 * @param settledSizes - the files' sizes before the guest was moved again: output of a second start that is not in the
 *   file where that happened lies behind them
 */
export function historyOf(lab: Lab, guest: string, settledSizes?: readonly number[]): History {
  const files = lab.hosts.map((host) => ({ host: host.name, text: textOf(serialFile(host, guest)) }));
  const again = `${formatCount(firstOf(1))}\n`;
  if (!files.some(({ text }) => text.includes(again))) {
    const count = checkContinuity(files);
    return { restarts: 0, last: count.last, problems: count.ok ? [] : [count.message] };
  }
  const cuts = files.map(({ text }, index) => {
    const at = text.indexOf(again);
    return at === -1 ? (settledSizes?.[index] ?? text.length) : at;
  });
  const before = checkContinuity(files.map(({ host, text }, index) => ({ host, text: text.slice(0, cuts[index]) })));
  const after = checkContinuity(
    files.map(({ host, text }, index) => ({ host, text: text.slice(cuts[index]) })),
    firstOf(1),
  );
  const problems = [before, after].flatMap((count) => (count.ok ? [] : [count.message]));
  return { restarts: 1, last: after.last, problems };
}

/** The disk is never ahead of the memory that goes on: the guest writes a count, then prints it (INV-8). */
export function diskProblem(lab: Lab, guest: string, disk: Disk): string | undefined {
  const before = historyOf(lab, guest).last;
  const generation = generationOf(lab, disk);
  const after = historyOf(lab, guest).last;
  if (generation >= before && generation <= after + 1) return undefined;
  return `the disk is at ${formatCount(generation)}, the guest went from ${formatCount(before)} to ${formatCount(after)}`;
}
