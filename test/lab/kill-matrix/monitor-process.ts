// SPDX-License-Identifier: Apache-2.0
// A process of its own, so that nothing else holds its looks up: reads how long each file is, again and again, and
// writes a line for every growth: milliseconds since 1970 that only go forward, the file's number, its size. `samples N` and the longest pause at last.
import { statSync } from 'node:fs';
import { setPriority } from 'node:os';

const LOOK_EVERY_MS = 20;
const files = process.argv.slice(2);
const sizes = files.map(() => 0);
let samples = 0;
let longestMs = 0;
let lastMs = performance.timeOrigin + performance.now();

function sizeOf(file: string): number {
  try {
    return statSync(file).size;
  } catch {
    return 0;
  }
}

function look(): void {
  const nowMs = performance.timeOrigin + performance.now();
  longestMs = Math.max(longestMs, nowMs - lastMs);
  lastMs = nowMs;
  samples += 1;
  files.forEach((file, index) => {
    const size = sizeOf(file);
    if (size === sizes[index]) return;
    sizes[index] = size;
    process.stdout.write(`${nowMs.toFixed(1)} ${String(index)} ${String(size)}\n`);
  });
}

setPriority(-10);
const timer = setInterval(look, LOOK_EVERY_MS);
const begunMs = performance.now();
process.on('SIGTERM', () => {
  clearInterval(timer);
  const seconds = (performance.now() - begunMs) / 1000;
  process.stdout.write(`samples ${(samples / seconds).toFixed(1)} ${longestMs.toFixed(0)}\n`, () => process.exit(0));
});
