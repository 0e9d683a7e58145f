// SPDX-License-Identifier: Apache-2.0
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { differences } from './compare.js';
import { fencedFromTheStart, inErrorFromTheStart, notSupported, readScenario, type Scenario } from './format.js';
import { play } from './play.js';

const EXCEPTIONS = fileURLToPath(new URL('../../../simulation/scenario-exceptions.md', import.meta.url));

interface Verdict {
  name: string;
  /** `exception`: it differs, and it is written down why. */
  verdict: 'agrees' | 'differs' | 'exception' | 'not supported yet';
  why: string[];
  violations: number;
}

/** Every deviation that is on purpose or cannot be helped: `- name: why`. */
function exceptions(): ReadonlyMap<string, string> {
  const lines = readFileSync(EXCEPTIONS, 'utf8').matchAll(/^- `([^`]+)`: (.+)$/gm);
  return new Map([...lines].map(([, name = '', why = '']) => [name, why]));
}

async function judge(scenario: Scenario, known: ReadonlyMap<string, string>, sink?: (line: string) => void): Promise<Verdict & { outcome?: unknown }> {
  const { name } = scenario;
  const missing = notSupported(scenario);
  if (missing !== undefined) return { name, verdict: 'not supported yet', why: [missing], violations: 0 };
  const played = await play(scenario, sink).catch((error: unknown) => (error instanceof Error ? error.message : String(error)));
  if (typeof played === 'string') return { name, verdict: 'differs', why: [`cannot be played: ${played}`], violations: 0 };
  const { outcome, refused } = played;
  const found = differences(scenario, played);
  const violations = outcome.violations.length;
  const begun = [
    ...fencedFromTheStart(scenario).map((node) => `begins with the fence of ${node} under way`),
    ...inErrorFromTheStart(scenario).map((vm) => `begins with ${vm} in an error, its limits used up`),
  ];
  if (found.length === 0) return { name, verdict: 'agrees', why: begun, violations, outcome };
  const exception = known.get(name);
  const why = [...found, ...refused.map((text) => `refused: ${text}`)];
  return exception === undefined
    ? { name, verdict: 'differs', why, violations, outcome }
    : { name, verdict: 'exception', why: [exception, ...why], violations, outcome };
}

/** Plays one scenario, or all of a folder. Returns the exit code. */
export async function scenarios(
  path: string,
  options: { json: boolean; report: boolean; trace: boolean },
  print: (text: string) => void,
): Promise<number> {
  const known = exceptions();
  const isFolder = statSync(path).isDirectory();
  const files = isFolder ? readdirSync(path).filter((file) => file.endsWith('.json')).sort().map((file) => join(path, file)) : [path];
  const verdicts: Verdict[] = [];
  for (const file of files) {
    const judged = await judge(readScenario(file), known, options.trace ? print : undefined);
    verdicts.push(judged);
    if (options.json && !options.report) print(JSON.stringify(judged.outcome ?? { name: judged.name, notSupported: judged.why[0] }));
    else if (!isFolder) print(line(judged));
  }
  if (isFolder && (options.report || !options.json)) report(verdicts, print);
  return verdicts.some(({ verdict, violations }) => verdict === 'differs' || violations > 0) ? 1 : 0;
}

function line({ name, verdict, why }: Verdict): string {
  return `| ${name} | ${verdict} | ${why.join('; ').replaceAll('|', '/').replaceAll('\n', ' ')} |`;
}

function report(verdicts: readonly Verdict[], print: (text: string) => void): void {
  print('| case | verdict | why |\n|---|---|---|');
  for (const verdict of verdicts) print(line(verdict));
  const count = (of: Verdict['verdict']): string => String(verdicts.filter(({ verdict }) => verdict === of).length);
  const played = verdicts.filter(({ verdict }) => verdict !== 'not supported yet').length;
  const assumed = verdicts.filter(({ verdict, why }) => verdict === 'agrees' && why.length > 0).length;
  const violations = verdicts.reduce((sum, each) => sum + each.violations, 0);
  print(
    `\n${count('agrees')} of ${String(played)} agree (${String(assumed)} of them with a start that only their outcome tells of), ${count('differs')} differ, ${count('exception')} differ for a reason that is written down; ` +
      `${count('not supported yet')} are not supported yet; ${String(violations)} violations`,
  );
}
