// SPDX-License-Identifier: Apache-2.0
import { setTimeout as sleep } from 'node:timers/promises';

const PAUSE_MS = 200;

/** Asks again and again until the answer is no text; a text says what is still missing, also in the final error. */
export async function attemptUntil<T>(what: string, limitMs: number, ask: () => Promise<T | string>): Promise<T> {
  const end = performance.now() + limitMs;
  for (;;) {
    let missing: string;
    try {
      const answer = await ask();
      if (typeof answer !== 'string') return answer;
      missing = answer;
    } catch (error) {
      missing = error instanceof Error ? error.message : String(error);
    }
    if (performance.now() > end) throw new Error(`waited ${limitMs / 1000} s until ${what}: ${missing}`);
    await sleep(PAUSE_MS);
  }
}
