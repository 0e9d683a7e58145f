// SPDX-License-Identifier: Apache-2.0
import { expect, it, onTestFinished } from 'vitest';
import { Cancelled } from '../clock/clock.js';
import { createVirtualClock } from '../clock/virtual.js';
import { createSeededRandom } from '../random/seeded.js';
import { SimulatedDaemon } from './simulated-daemon.js';

it('a call that was given up before it was sent fails for its caller alone, also when the connection closes', async () => {
  const unheard: unknown[] = [];
  const hear = (reason: unknown): void => void unheard.push(reason);
  process.on('unhandledRejection', hear);
  onTestFinished(() => {
    process.off('unhandledRejection', hear);
  });
  const clock = createVirtualClock();
  const random = createSeededRandom({ seed: 1, clock });
  const connection = new SimulatedDaemon({ clock, random, latency: { leastMs: 1, mostMs: 1 } }).connect();
  const gone = new AbortController();
  gone.abort(new Error('the caller has gone'));

  const call = connection.call('list', { deadlineMs: 1_000, signal: gone.signal }, () => 'done');
  await expect(call).rejects.toBeInstanceOf(Cancelled);
  connection.close();
  await clock.advance(10);

  expect(unheard).toEqual([]);
});
