// SPDX-License-Identifier: Apache-2.0

/**
 * What a vitest run amounts to. Nothing passes by not running: a crash, a file that could not be loaded,
 * a run without tests and every skipped test count as failed.
 *
 * @param {number} code - vitest's exit code
 * @param {undefined | {
 *   numPassedTests: number, numFailedTests: number, numPendingTests: number, numTodoTests: number,
 *   testResults: {name: string, status: string, assertionResults: unknown[]}[],
 * }} report - vitest's JSON report, undefined when it wrote none
 * @returns {{passed: number, failed: number, notes: string[]}}
 */
export function summarise(code, report) {
  if (report === undefined)
    return { passed: 0, failed: 1, notes: [`ended with exit code ${code} and without a report`] };
  const notes = [];
  const unloaded = report.testResults.filter((file) => file.status !== 'passed' && file.assertionResults.length === 0);
  for (const file of unloaded) notes.push(`could not be run: ${file.name}`);
  const skipped = report.numPendingTests + report.numTodoTests;
  if (skipped > 0) notes.push(`${skipped} skipped, counted as failed`);
  const passed = report.numPassedTests;
  let failed = report.numFailedTests + unloaded.length + skipped;
  if (passed + failed === 0) {
    notes.push('no test ran');
    failed = 1;
  } else if (code !== 0 && failed === 0) {
    notes.push(`every test passed, yet vitest ended with exit code ${code}`);
    failed = 1;
  }
  return { passed, failed, notes };
}
