// SPDX-License-Identifier: Apache-2.0
import { expect, it } from 'vitest';
import { formatBytes } from './bytes.js';

it.each([
  [0n, '0 B'],
  [1023n, '1023 B'],
  [512n * 1024n ** 2n, '512 MiB'],
  [(7n * 1024n ** 3n) / 2n, '3.5 GiB'],
  [1024n ** 3n - 1n, '1 GiB'],
  [-(1024n ** 3n), '-1 GiB'],
  [5000n * 1024n ** 5n, '5000 PiB'],
])('%s bytes are written as %s', (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
});
