// SPDX-License-Identifier: Apache-2.0
import { SourceFact, TargetFact } from '@lockstep/sdk/v1';
import type { MigrationFacts } from './recovery.js';

/** Where a person found the guest of a migration that nobody can settle: at one of its ends, or nowhere. */
export type PersonsWord = 'source' | 'target' | 'none';

/**
 * What is done upon a person's word.
 *
 * - `FORWARD`, `BACK`, `COLD`: as the recovery table has them.
 * - `STOP_SOURCE`, `STOP_TARGET`: two copies run; the one that is not the guest is stopped, then the facts are asked for again.
 */
export type Resolution = 'FORWARD' | 'BACK' | 'COLD' | 'STOP_SOURCE' | 'STOP_TARGET';

export type ResolutionAnswer = { allowed: Resolution } | { refused: string };

const S = SourceFact;
const T = TargetFact;

const SILENT = 'does not answer; where it is known to be off, acknowledge that with the Fencer, and this settles itself';

/**
 * A person may tell what the facts leave open, never what they deny: an end that answers is believed before a person is,
 * and of an end that is silent a person's word does not prove that nothing runs there (INV-1, INV-3, INV-8).
 */
export function resolve({ source, target }: MigrationFacts, word: PersonsWord): ResolutionAnswer {
  switch (word) {
    case 'target':
      return toTarget(source, target);
    case 'source':
      return toSource(source, target);
    case 'none':
      return anew(source, target);
  }
}

function toTarget(source: SourceFact, target: TargetFact): ResolutionAnswer {
  if (target !== T.RUNNING && target !== T.UNREACHABLE) return { refused: 'the target says that no guest runs there' };
  switch (source) {
    case S.RUNNING:
    case S.TRANSFERRING:
      return target === T.RUNNING ? { allowed: 'STOP_SOURCE' } : { refused: 'the source says that the guest runs there' };
    case S.UNTOLD:
    case S.STANDS:
    case S.LOST:
    case S.OFF:
      return { allowed: 'FORWARD' };
    default:
      return target === T.RUNNING ? { allowed: 'FORWARD' } : { refused: `the source ${SILENT}` };
  }
}

function toSource(source: SourceFact, target: TargetFact): ResolutionAnswer {
  if (source === S.LOST || source === S.OFF) return { refused: 'the source says that no guest is there' };
  const runs = source === S.RUNNING || source === S.TRANSFERRING;
  if (!runs && source !== S.UNTOLD && source !== S.STANDS) return { refused: `the source ${SILENT}` };
  switch (target) {
    case T.RUNNING:
      if (runs) return { allowed: 'STOP_TARGET' };
      return { refused: 'the target says that the guest runs there, and the copy at the source is older' };
    case T.INCOMING:
    case T.NEVER:
      return { allowed: 'BACK' };
    case T.MAYBE:
    case T.OFF:
      return runs ? { allowed: 'BACK' } : { refused: 'the guest may have run at the target, and the copy at the source is older' };
    default:
      return { refused: `the target ${SILENT}` };
  }
}

function anew(source: SourceFact, target: TargetFact): ResolutionAnswer {
  if (source === S.RUNNING || source === S.TRANSFERRING) return { refused: 'the source says that the guest runs there' };
  if (target === T.RUNNING) return { refused: 'the target says that the guest runs there' };
  const answers = source === S.UNTOLD || source === S.STANDS || source === S.LOST || source === S.OFF;
  if (!answers) return { refused: `the source ${SILENT}` };
  const known = target === T.INCOMING || target === T.NEVER || target === T.MAYBE || target === T.OFF;
  return known ? { allowed: 'COLD' } : { refused: `the target ${SILENT}` };
}
