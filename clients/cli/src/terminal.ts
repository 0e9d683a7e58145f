// SPDX-License-Identifier: Apache-2.0
import { createInterface } from 'node:readline/promises';
import type { WriteStream } from 'node:tty';

/** Everything the command sees of its surroundings: streams, environment, Ctrl-C. Tests put their own in. */
export interface Terminal {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Data, and nothing else. */
  out(text: string): void;
  /** Everything else: notes, progress, questions, errors. */
  err(text: string): void;
  readonly outIsTty: boolean;
  readonly errIsTty: boolean;
  /** Both ends of a conversation are there: stdin and stderr. */
  readonly canAsk: boolean;
  /** Width of stdout's terminal in columns; undefined where it has none, and nothing is cut. */
  readonly outColumns: number | undefined;
  readonly errColumns: number | undefined;
  /** Wall clock in milliseconds, for ages. */
  now(): number;
  /** Asks on stderr; the answer without its line end. Only where `canAsk`. */
  ask(question: string): Promise<string>;
  /** At most `limitBytes` of stdin; undefined where there is more. */
  readStdin(limitBytes: number): Promise<Buffer | undefined>;
  /** Calls back at Ctrl-C instead of ending the process, until the returned function is called. */
  onInterrupt(listener: () => void): () => void;
}

/** A terminal that was never told its size says 0, which is no width to cut at. */
function widthOf(stream: WriteStream): number | undefined {
  return stream.isTTY && stream.columns > 0 ? stream.columns : undefined;
}

/** The real surroundings of the process. */
export function processTerminal(): Terminal {
  const { stdin, stdout, stderr } = process;
  return {
    env: process.env,
    out: (text) => void stdout.write(text),
    err: (text) => void stderr.write(text),
    outIsTty: stdout.isTTY,
    errIsTty: stderr.isTTY,
    canAsk: stdin.isTTY && stderr.isTTY,
    get outColumns() {
      return widthOf(stdout);
    },
    get errColumns() {
      return widthOf(stderr);
    },
    now: Date.now,
    ask: async (question) => {
      const lines = createInterface({ input: stdin, output: stderr });
      try {
        return await lines.question(question);
      } finally {
        lines.close();
      }
    },
    readStdin: async (limitBytes) => {
      const chunks: Buffer[] = [];
      let length = 0;
      for await (const chunk of stdin as AsyncIterable<Buffer>) {
        length += chunk.length;
        if (length > limitBytes) return undefined;
        chunks.push(chunk);
      }
      return Buffer.concat(chunks);
    },
    onInterrupt: (listener) => {
      process.on('SIGINT', listener);
      return () => void process.off('SIGINT', listener);
    },
  };
}
