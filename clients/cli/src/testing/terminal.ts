// SPDX-License-Identifier: Apache-2.0
import type { Terminal } from '../terminal.js';

/** A terminal that remembers what was said, answers what it was told to, and is interrupted when it is asked to. */
export class PlayedTerminal implements Terminal {
  stdout = '';
  stderr = '';
  env: Record<string, string | undefined> = {};
  outIsTty = false;
  errIsTty = false;
  canAsk = false;
  outColumns: number | undefined;
  errColumns: number | undefined;
  nowMs = 1_000_000_000_000;
  answer = '';
  stdin = '';
  readonly #interrupts = new Set<() => void>();

  out(text: string): void {
    this.stdout += text;
  }

  err(text: string): void {
    this.stderr += text;
  }

  now(): number {
    return this.nowMs;
  }

  ask(question: string): Promise<string> {
    this.stderr += question;
    return Promise.resolve(this.answer);
  }

  readStdin(limitBytes: number): Promise<Buffer | undefined> {
    const bytes = Buffer.from(this.stdin);
    return Promise.resolve(bytes.length > limitBytes ? undefined : bytes);
  }

  onInterrupt(listener: () => void): () => void {
    this.#interrupts.add(listener);
    return () => void this.#interrupts.delete(listener);
  }

  interrupt(): void {
    for (const listener of this.#interrupts) listener();
  }
}
