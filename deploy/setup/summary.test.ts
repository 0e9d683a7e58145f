// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { summarise } from './summary.mjs';

const report = {
  numPassedTests: 3,
  numFailedTests: 0,
  numPendingTests: 0,
  numTodoTests: 0,
  testResults: [{ name: 'a.test.ts', status: 'passed', assertionResults: [{}, {}, {}] }],
};

describe('the summary of a vitest run', () => {
  it('counts what passed and what failed', () => {
    expect(summarise(0, report)).toEqual({ passed: 3, failed: 0, notes: [] });
    expect(summarise(1, { ...report, numFailedTests: 2 })).toMatchObject({ passed: 3, failed: 2 });
  });

  it('counts a run that wrote no report as failed', () => {
    expect(summarise(0, undefined)).toMatchObject({ passed: 0, failed: 1 });
  });

  it('counts a run without a single test as failed', () => {
    expect(summarise(0, { ...report, numPassedTests: 0, testResults: [] })).toMatchObject({ failed: 1 });
  });

  it('counts a file that could not be loaded, although none of its tests failed', () => {
    const broken = { name: 'b.test.ts', status: 'failed', assertionResults: [] };
    const result = summarise(1, { ...report, testResults: [...report.testResults, broken] });
    expect(result).toEqual({ passed: 3, failed: 1, notes: ['could not be run: b.test.ts'] });
  });

  it('counts skipped tests as failed', () => {
    expect(summarise(0, { ...report, numPendingTests: 2 })).toMatchObject({ passed: 3, failed: 2 });
  });

  it('believes the exit code when every test passed and something outside of them failed', () => {
    expect(summarise(1, report)).toMatchObject({ passed: 3, failed: 1 });
  });
});
