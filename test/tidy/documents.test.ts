// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { FenceActionState, NodeJudgement } from '@lockstep/sdk/v1';
import { RULES } from '../../services/core/judgement/judge.js';
import { FENCE_TRANSITIONS } from '../../services/core/fencing/transitions.js';
import { RECOVERY_TABLE, type SourceRow } from '../../services/core/migration/recovery.js';

const architecture = readFileSync(fileURLToPath(new URL('../../ARCHITECTURE.md', import.meta.url)), 'utf8');

/** How the document names the rows. */
const ROWS: Readonly<Record<SourceRow, string>> = {
  RUNNING: 'RUNNING',
  TRANSFERRING: 'TRANSFERRING',
  UNTOLD: 'UNTOLD',
  STANDS: 'STANDS',
  GONE_HEARD: 'LOST, OFF; its word heard',
  GONE_UNHEARD: 'LOST, OFF; not heard',
  LVDOWN: 'LVDOWN',
  UNREACHABLE_HEARD: 'UNREACHABLE; its word heard',
  UNREACHABLE_UNHEARD: 'UNREACHABLE; not heard',
};

describe('ARCHITECTURE.md', () => {
  it.each(Object.entries(ROWS))('tells the row %s of the recovery table as the code has it', (row, name) => {
    const { RUNNING, INCOMING, NEVER, MAYBE, UNREACHABLE } = RECOVERY_TABLE[row as SourceRow];
    expect(architecture).toContain(`| ${[name, RUNNING, INCOMING, NEVER, MAYBE, UNREACHABLE].join(' | ')} |`);
  });

  it('tells the rules of judgement as the code has them, in their order and with no other', () => {
    const table = architecture.slice(architecture.indexOf('| rule | judgement | when |'));
    const rows = table.slice(0, table.indexOf('\n\n')).split('\n').slice(2);
    const told = rows.map((row) => row.split('|').slice(1, 3).map((cell) => cell.trim()));
    expect(told).toEqual(RULES.map(({ name, judgement }) => [name, nameIn(NodeJudgement, judgement)]));
  });

  it('tells which state of a fence action may follow which', () => {
    const table = architecture.slice(architecture.indexOf('| from | to |')).split('\n\n')[0] ?? '';
    for (const [from, next] of Object.entries(FENCE_TRANSITIONS)) {
      if (next.length === 0) continue;
      const row = table.split('\n').find((line) => line.startsWith(`| ${nameIn(FenceActionState, Number(from))} | `));
      const told = (row ?? '').replaceAll(/\([^)]*\)/g, '').split('|')[2]?.split(',').map((word) => word.trim());
      expect(told).toEqual(next.map((state) => nameIn(FenceActionState, state)));
    }
  });
});

function nameIn(words: Readonly<Record<string, number | string>>, value: number): string {
  return Object.entries(words).find(([, number]) => number === value)?.[0] ?? 'unknown';
}
