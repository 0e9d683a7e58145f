// SPDX-License-Identifier: Apache-2.0
import { readFile, stat } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { isMap, isNode, isScalar, LineCounter, parseDocument, type Document } from 'yaml';
import type { z } from 'zod';
import { isSecretName } from '../log/readable.js';
import { closest } from './closest.js';
import { knownKeys } from './known-keys.js';

/** One thing that is wrong in a configuration. */
export interface ConfigProblem {
  /** From 1; undefined where it cannot be told, e.g. of a field that is missing. */
  line?: number | undefined;
  /** E.g. `consul.address`; empty for the file as a whole. */
  field: string;
  /** What was wrong and what would be right, e.g. `got 17, want string`. */
  what: string;
}

/** A configuration cannot be used. Its message has one line per problem and no secret. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  constructor(
    readonly file: string,
    readonly problems: readonly ConfigProblem[],
  ) {
    super(problems.map((problem) => problemLine(file, problem)).join('\n'));
  }
}

function problemLine(file: string, { line, field, what }: ConfigProblem): string {
  const where = line === undefined ? file : `${file}:${String(line)}`;
  return field === '' ? `${where}: ${what}` : `${where}: ${field}: ${what}`;
}

/** A configuration is some kilobytes; a larger file is something else. */
const LARGEST_FILE_BYTES = 1024 * 1024;

async function readText(file: string): Promise<string> {
  try {
    const { size } = await stat(file);
    if (size <= LARGEST_FILE_BYTES) return await readFile(file, 'utf8');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
    const what = code === 'ENOENT' ? 'no such file; --config FILE names another' : `cannot be read (${code})`;
    throw new ConfigError(file, [{ field: '', what }]);
  }
  throw new ConfigError(file, [{ field: '', what: 'larger than 1 MiB: this is no configuration' }]);
}

type Path = readonly PropertyKey[];

/** The line on which the value at this path begins, or, for the last key of the path, the key itself. */
function lineOf(document: Document, lines: LineCounter, path: Path): number | undefined {
  const parent: unknown = path.length <= 1 ? document.contents : document.getIn(path.slice(0, -1), true);
  const last = path.at(-1);
  const pair = isMap(parent)
    ? parent.items.find(({ key }) => isScalar(key) && String(key.value) === String(last))
    : undefined;
  const node: unknown = pair === undefined ? document.getIn(path, true) : pair.key;
  return isNode(node) && node.range ? lines.linePos(node.range[0]).line : undefined;
}

function nameOf(path: Path): string {
  return path.map((part) => (typeof part === 'number' ? `[${String(part)}]` : `.${String(part)}`)).join('').replace(/^\./, '');
}

/** The value as a person would recognise it, without secrets and short. */
function described(value: unknown, path: Path): string {
  if (value === undefined || value === null) return 'nothing';
  if (isSecretName(String(path.at(-1) ?? ''))) return `a ${typeof value}`;
  const text = JSON.stringify(value);
  return text.length <= 80 ? text : `${text.slice(0, 79)}…`;
}

function valueAt(value: unknown, path: Path): unknown {
  return path.reduce<unknown>(
    (at, part) => (typeof at === 'object' && at !== null ? Reflect.get(at, part) : undefined),
    value,
  );
}

function wanted(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'invalid_type':
      return issue.expected;
    case 'invalid_value':
      return issue.values.map(String).join(' or ');
    case 'too_small':
      return `at least ${String(issue.minimum)}`;
    case 'too_big':
      return `at most ${String(issue.maximum)}`;
    default:
      return issue.message;
  }
}

function problemsOf(issue: z.core.$ZodIssue, data: unknown, schema: z.ZodType, locate: (path: Path) => number | undefined) {
  if (issue.code !== 'unrecognized_keys') {
    const got = described(valueAt(data, issue.path), issue.path);
    return [{ line: locate(issue.path), field: nameOf(issue.path), what: `got ${got}, want ${wanted(issue)}` }];
  }
  const known = knownKeys(schema, issue.path);
  return issue.keys.map((key): ConfigProblem => {
    const path = [...issue.path, key];
    const near = closest(key, known);
    const help = near === undefined ? `known here: ${known.join(', ')}` : `did you mean ${near}?`;
    return { line: locate(path), field: nameOf(path), what: `unknown; ${help}` };
  });
}

/** Checks a configuration's text against its schema. `file` is only named. */
export function parseConfig<T extends z.ZodType>(file: string, text: string, schema: T): z.output<T> {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  if (document.errors.length > 0) {
    const problems = document.errors.map(({ pos, message }) => ({
      line: lines.linePos(pos[0]).line,
      field: '',
      what: message,
    }));
    throw new ConfigError(file, problems);
  }
  const data: unknown = document.toJS({ maxAliasCount: 20 }) ?? {};
  const result = schema.safeParse(data);
  if (result.success) return result.data;
  const locate = (path: Path): number | undefined => lineOf(document, lines, path);
  throw new ConfigError(file, result.error.issues.flatMap((issue) => problemsOf(issue, data, schema, locate)));
}

/** Reads a YAML file and checks it. Schemas are strict objects: an unknown key is an error. Rejects with ConfigError. */
export async function loadConfig<T extends z.ZodType>(file: string, schema: T): Promise<z.output<T>> {
  return parseConfig(file, await readText(file), schema);
}

/** The configuration a service was started with: `--config FILE`, else its usual place. Throws ConfigError. */
export function configPath(argv: readonly string[], usual: string): string {
  try {
    const { values } = parseArgs({ args: [...argv], options: { config: { type: 'string' } } });
    return values.config ?? usual;
  } catch (error) {
    const what = error instanceof Error ? error.message : String(error);
    throw new ConfigError('command line', [{ field: '', what: `${what} (known: --config FILE)` }]);
  }
}

/** The secret in a file, without the line's end. Refuses a file that everybody may read. Rejects with ConfigError. */
export async function readSecret(file: string): Promise<string> {
  const text = await readText(file);
  const { mode } = await stat(file);
  if ((mode & 0o004) !== 0) {
    throw new ConfigError(file, [{ field: '', what: `holds a secret and everybody may read it; chmod o= ${file}` }]);
  }
  const secret = text.trim();
  if (secret === '') throw new ConfigError(file, [{ field: '', what: 'is empty, want a secret' }]);
  return secret;
}
