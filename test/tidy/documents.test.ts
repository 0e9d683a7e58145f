// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
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
});
