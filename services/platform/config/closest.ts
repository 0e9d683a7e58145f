// SPDX-License-Identifier: Apache-2.0

/** The number of single-character edits between two words. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (const [i, left] of Array.from(a).entries()) {
    const next = [i + 1];
    for (const [j, right] of Array.from(b).entries()) {
      const keep = (row[j] ?? 0) + (left === right ? 0 : 1);
      next.push(Math.min(keep, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

/** The known word that somebody who wrote `word` probably meant; undefined where none is near. */
export function closest(word: string, known: readonly string[]): string | undefined {
  const plain = (text: string): string => text.toLowerCase().replace(/[-_]/g, '');
  const near = known
    .map((candidate) => ({ candidate, edits: distance(plain(word.slice(0, 64)), plain(candidate)) }))
    .filter(({ candidate, edits }) => edits <= Math.max(1, Math.floor(candidate.length / 3)));
  return near.sort((left, right) => left.edits - right.edits)[0]?.candidate;
}
