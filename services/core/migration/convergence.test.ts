// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { Convergence, type ConvergenceLimits, type ConvergenceStep, type TransferSample } from './convergence.js';

const MIB = 2 ** 20;
const LIMITS: ConvergenceLimits = { pauseBudgetMs: 300, deadlineMs: 600_000, autoConverge: false, postCopy: false };

interface Trace {
  /** MiB per second. */
  bandwidth: number;
  dirty: number;
  /** MiB. */
  resident: number;
  workingSet: number;
  seconds: number;
  /** From when on the guest is slower, and by which factor. */
  throttled?: { fromMs: number; by: number };
  /** When the link does next to nothing. */
  broken?: { fromMs: number; toMs: number };
}

/** A transfer as its reports look, five a second, pass by pass. */
function play({ bandwidth, dirty, resident, workingSet, seconds, throttled, broken }: Trace): TransferSample[] {
  const samples: TransferSample[] = [];
  let remaining = resident;
  let iteration = 1;
  let passMs = 0;
  for (let elapsedMs = 200; elapsedMs <= seconds * 1000; elapsedMs += 200) {
    const link = broken !== undefined && elapsedMs >= broken.fromMs && elapsedMs < broken.toMs ? bandwidth / 100 : bandwidth;
    const rate = throttled !== undefined && elapsedMs >= throttled.fromMs ? dirty * throttled.by : dirty;
    remaining -= link / 5;
    passMs += 200;
    if (remaining <= 0) {
      remaining = Math.min((rate * passMs) / 1000, workingSet);
      iteration += 1;
      passMs = 0;
    }
    samples.push({
      elapsedMs,
      iteration,
      remainingBytes: remaining * MIB,
      dirtyRateBytesPerSecond: rate * MIB,
      bandwidthBytesPerSecond: link * MIB,
      expectedDowntimeMs: (remaining / link) * 1000,
    });
  }
  return samples;
}

/** What the policy does, at which second, and nothing after it gave up or switched. */
function steps(trace: Trace, limits: Partial<ConvergenceLimits> = {}): { atS: number; step: ConvergenceStep }[] {
  const policy = new Convergence({ ...LIMITS, ...limits });
  const done: { atS: number; step: ConvergenceStep }[] = [];
  for (const sample of play(trace)) {
    const step = policy.look(sample);
    if (step.kind !== 'go-on') done.push({ atS: sample.elapsedMs / 1000, step });
    if (step.kind === 'give-up' || step.kind === 'post-copy') break;
  }
  return done;
}

const kinds = (done: readonly { step: ConvergenceStep }[]): string[] => done.map(({ step }) => step.kind);

const NEVER: Trace = { bandwidth: 400, dirty: 1_100, resident: 4_000, workingSet: 1_000, seconds: 400 };

describe('the convergence policy', () => {
  it('leaves a transfer alone in its first pass, however long that takes', () => {
    expect(steps({ ...NEVER, resident: 100_000, seconds: 200 })).toEqual([]);
  });

  it('leaves one alone that gets nearer to its end', () => {
    const slowly = { bandwidth: 100, dirty: 50, resident: 4_000, workingSet: 4_000, seconds: 75 };
    expect(steps(slowly)).toEqual([]);
  });

  it('allows more downtime in steps up to the budget, and never more', () => {
    const done = steps(NEVER);
    const allowed = done.flatMap(({ step }) => (step.kind === 'allow-downtime' ? [step.downtimeMs] : []));
    expect(allowed).toEqual([200, 300]);
  });

  it('skips steps that the hypervisor says are too short', () => {
    const policy = new Convergence(LIMITS);
    const nearly = play(NEVER).map((sample) => ({ ...sample, expectedDowntimeMs: 280 }));
    const allowed = nearly.flatMap((sample) => {
      const step = policy.look(sample);
      return step.kind === 'allow-downtime' ? [step.downtimeMs] : [];
    });
    expect(allowed[0]).toBe(280);
  });

  it('gives up with the figures where nothing helps', () => {
    const last = steps(NEVER).at(-1);
    expect(last?.step.kind).toBe('give-up');
    expect(last?.step).toMatchObject({ detail: expect.stringContaining('dirties 1.1 GiB/s over a 0.4 GiB/s link') as string });
    expect(last?.atS).toBeLessThan(60);
  });

  it('leaves auto-converge the time that it needs', () => {
    const slowed = { ...NEVER, throttled: { fromMs: 40_000, by: 0.05 } };
    expect(kinds(steps({ ...slowed, seconds: 60 }, { autoConverge: true }))).not.toContain('give-up');
    expect(kinds(steps(slowed, { autoConverge: false }))).toContain('give-up');
  });

  it('switches to post-copy once the budget is used up, where that is allowed', () => {
    expect(kinds(steps(NEVER, { postCopy: true }))).toEqual(['allow-downtime', 'allow-downtime', 'post-copy']);
  });

  it('ends by its deadline, in the first pass too', () => {
    const slow = { ...NEVER, resident: 1_000_000 };
    expect(steps(slow, { deadlineMs: 30_000 }).map(({ atS, step }) => [atS, step.kind])).toEqual([[30, 'give-up']]);
    expect(kinds(steps(slow, { deadlineMs: 30_000, postCopy: true }))).toEqual(['post-copy']);
  });

  it('does not blame the guest for a link in trouble', () => {
    const broken = { bandwidth: 100, dirty: 50, resident: 2_000, workingSet: 2_000, seconds: 36, broken: { fromMs: 22_000, toMs: 34_000 } };
    expect(steps(broken)).toEqual([]);
  });
});
