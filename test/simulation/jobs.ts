// SPDX-License-Identifier: Apache-2.0
import { type ChildProcess, fork } from 'node:child_process';
import { cpuUsage } from 'node:process';
import type { SeedReport } from './seeds.js';

/** Many, as V8's warm-up costs each process some seconds; few enough that all processes end at about the same time. */
const MOST_SEEDS_OF_A_CHUNK = 50;
const CHUNKS_OF_A_JOB = 4;

/** What the first process asks of another: these seeds, in this order. */
interface Chunk {
  from: number;
  count: number;
}

/** What the other answers: each seed's report, and that a chunk is done. */
type Answer = { kind: 'seed'; report: SeedReport; cpuSeconds: number } | { kind: 'done' };

/** Told of each seed as it is done, with the CPU time of all processes so far; false: no more are wanted. */
export type OnSeed = (report: SeedReport, cpuSeconds: number) => boolean;

/** CPU time of this process, in seconds. */
export function cpuSecondsNow(): number {
  const { user, system } = cpuUsage();
  return (user + system) / 1e6;
}

/** Runs a range of seeds in several processes, each of which takes chunks until none is left. */
export async function runJobs(jobs: number, { from, count }: Chunk, worker: { main: string; args: readonly string[] }, onSeed: OnSeed): Promise<void> {
  const size = Math.max(1, Math.min(MOST_SEEDS_OF_A_CHUNK, Math.ceil(count / (jobs * CHUNKS_OF_A_JOB))));
  const cpuSeconds = new Map<ChildProcess, number>();
  let [next, wanted] = [from, true];
  const take = (): Chunk | undefined => {
    if (!wanted || next >= from + count) return undefined;
    const chunk = { from: next, count: Math.min(size, from + count - next) };
    next += chunk.count;
    return chunk;
  };
  const killAll = (): void => {
    for (const child of cpuSeconds.keys()) child.kill('SIGKILL');
  };
  const done = (child: ChildProcess, report: SeedReport, itsCpuSeconds: number): void => {
    cpuSeconds.set(child, itsCpuSeconds);
    if (!wanted) return;
    wanted = onSeed(report, cpuSecondsNow() + [...cpuSeconds.values()].reduce((sum, seconds) => sum + seconds, 0));
    if (!wanted) killAll();
  };
  const interrupted = (signal: NodeJS.Signals): void => {
    killAll();
    process.exit(signal === 'SIGINT' ? 130 : 143);
  };
  process.once('SIGINT', interrupted);
  process.once('SIGTERM', interrupted);
  try {
    await Promise.all(
      Array.from({ length: Math.min(jobs, Math.ceil(count / size)) }, () => {
        const child = fork(worker.main, [...worker.args, '--worker'], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
        cpuSeconds.set(child, 0);
        return follow(child, take, (report, seconds) => { done(child, report, seconds); }, () => wanted);
      }),
    );
  } finally {
    killAll();
    process.off('SIGINT', interrupted);
    process.off('SIGTERM', interrupted);
  }
}

/** Hands chunks to a process until there are no more, and resolves when it has ended. */
function follow(
  child: ChildProcess,
  take: () => Chunk | undefined,
  onSeed: (report: SeedReport, cpuSeconds: number) => void,
  isWanted: () => boolean,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let busy = false;
    const hand = (): void => {
      const chunk = take();
      busy = chunk !== undefined;
      if (chunk !== undefined) child.send(chunk);
      else if (child.connected) child.disconnect();
    };
    child.on('message', (answer: Answer) => {
      if (answer.kind === 'seed') onSeed(answer.report, answer.cpuSeconds);
      else hand();
    });
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      if (busy && isWanted()) reject(new Error(`a process of --jobs ended in the middle of its seeds: ${signal ?? String(code)}`));
      else resolve();
    });
    hand();
  });
}

/** The other end: runs what it is handed until the first process hangs up. */
export function work(runOne: (seed: number) => Promise<SeedReport>): void {
  const answer = (what: Answer): void => {
    process.send?.(what);
  };
  const runChunk = async ({ from, count }: Chunk): Promise<void> => {
    for (let seed = from; seed < from + count; seed++) {
      const report = await runOne(seed);
      answer({ kind: 'seed', report, cpuSeconds: cpuSecondsNow() });
    }
    answer({ kind: 'done' });
  };
  process.on('message', (chunk: Chunk) => {
    void runChunk(chunk).catch((error: unknown) => {
      process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
      process.exit(1);
    });
  });
  process.once('disconnect', () => process.exit(0));
}
