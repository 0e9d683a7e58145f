// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
const MOST_LINES = 400;

interface SourceFile {
  name: string;
  text: string;
}

/** What git tracks or would track, so that a new file is judged before it is committed. */
const files: SourceFile[] = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
  cwd: root,
  encoding: 'utf8',
})
  .split('\n')
  .filter((name) => /\.(ts|mjs|js|sh|proto|S|py)$/.test(name))
  .flatMap((name) => {
    try {
      return [{ name, text: readFileSync(path.join(root, name), 'utf8') }];
    } catch {
      return []; // deleted, and not committed yet
    }
  });

const isTest = ({ name }: SourceFile): boolean => /\.test\.ts$|^test\/|\/testing\//.test(name);
const lineOf = (text: string, index: number): number => text.slice(0, index).split('\n').length;

/** Every place where a pattern occurs, as `file:line: what`. */
function places(among: SourceFile[], pattern: RegExp): string[] {
  return among.flatMap(({ name, text }) =>
    [...withoutComments(text).matchAll(new RegExp(pattern, 'g'))].map(
      (match) => `${name}:${String(lineOf(text, match.index))}: ${match[0]}`,
    ),
  );
}

/** Comments are blanked, so that they may name what the code may not use; positions stay. */
function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, (comment) => comment.replace(/[^\n]/g, ' '));
}

/** Services, without what is the world's own: platform, and the composition roots that choose its parts. */
const services = files.filter(
  (file) =>
    /^services\/(core|membership|node-agent|scheduler|fencer)\/.*\.ts$/.test(file.name) &&
    !file.name.endsWith("/main.ts") &&
    !isTest(file),
);

describe('the house keeps its own rules', () => {
  it('looks at a tree that is there', () => {
    expect(services.length).toBeGreaterThan(30);
  });

  it('services use no ambient time', () => {
    const time = /\bDate\.now\(|\bnew Date\(\s*\)|\bperformance\.|\bset(?:Timeout|Interval|Immediate)\(|\bprocess\.hrtime/;
    expect(places(services, time)).toEqual([]);
  });

  it('services use no ambient randomness', () => {
    expect(places(services, /\bMath\.random\(|\brandomUUID\(|\bcrypto\./)).toEqual([]);
  });

  it('services do no I/O of their own', () => {
    const io = /from 'node:[^']*'|\bprocess\.(?:env|exit|on|std\w+|kill)\b|\bfetch\(|\bconsole\./;
    expect(places(services, io)).toEqual([]);
  });

  it('core imports nothing from platform', () => {
    const core = files.filter(({ name }) => name.startsWith('services/core/'));
    expect(places(core, /from '[^']*\/(?:platform|node-agent|scheduler|fencer|membership)\/[^']*'/)).toEqual([]);
  });

  it('signals are linked by hand', () => {
    expect(places(files, /\bAbortSignal\.(?:any|timeout)\(/)).toEqual([]);
  });

  it(`no file is longer than ${String(MOST_LINES)} lines`, () => {
    const long = files
      .filter((file) => file.name.endsWith('.ts') && !isTest(file))
      .map(({ name, text }) => ({ name, lines: text.split('\n').length - 1 }))
      .filter(({ lines }) => lines > MOST_LINES);
    expect(long).toEqual([]);
  });

  it('every source file names its licence first', () => {
    const bare = files.filter(({ text }) => !text.split('\n').slice(0, 2).join('\n').includes('SPDX-License-Identifier: Apache-2.0'));
    expect(bare.map(({ name }) => name)).toEqual([]);
  });

  it('no check is silenced and no test is skipped', () => {
    const silenced = /@ts-(?:ignore|nocheck|expect-error)|eslint-disable|\b(?:it|test|describe)\.(?:skip|only|todo)\b|\b(?:skipIf|runIf)\(/;
    const found = files
      .filter(({ name }) => name !== 'test/tidy/tidy.test.ts')
      .flatMap(({ name, text }) => (silenced.test(text) ? [name] : []));
    expect(found).toEqual([]);
  });

  it('nothing says where it was made', () => {
    const machine = new RegExp(`(?<![\\w/$}"])(?:${['/wo' + 'rk/', '/ho' + 'me/[a-z]', '/ro' + 'ot/'].join('|')})`);
    expect(files.flatMap(({ name, text }) => (machine.test(text) ? [name] : []))).toEqual([]);
  });
});
