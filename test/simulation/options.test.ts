// SPDX-License-Identifier: Apache-2.0
import { LockstepError } from '@lockstep/services/core/errors/catalogue.js';
import { expect, it } from 'vitest';
import { Desk } from './world/desk.js';
import { SOUND } from './world/store-link.js';

const TRIES = 6;

it('options whose write had an unknown outcome are those on record, and can be set again', async () => {
  const desk = new Desk();
  await desk.open();
  for (let number = 1; number <= TRIES; number += 1) {
    desk.cluster.store.illness = { ...SOUND, unknown: 1 };
    const unsure = desk.ask((api) => api.updateOptions({ options: { migrationsPerCluster: number } }));
    const error = await unsure.then(
      () => undefined,
      (refusal: unknown) => refusal,
    );
    desk.cluster.store.illness = SOUND;
    if (error !== undefined) expect((error as LockstepError).reason).toBe('OUTCOME_UNKNOWN');
    // Until a write that happens late has happened, too.
    await desk.pass(10_000);
    const again = await setAgain(desk, 10 + number);
    expect(again).toBe(10 + number);
    const { cluster } = await desk.ask((api) => api.getCluster({}));
    expect(cluster?.options?.migrationsPerCluster).toBe(10 + number);
  }
});

/** Who is told that somebody else was quicker reads, and asks again. */
async function setAgain(desk: Desk, migrationsPerCluster: number): Promise<number | undefined> {
  for (let tries = 1; ; tries += 1) {
    try {
      const { options } = await desk.ask((api) => api.updateOptions({ options: { migrationsPerCluster } }));
      return options?.migrationsPerCluster;
    } catch (error) {
      if (!(error instanceof LockstepError) || error.reason !== 'ETAG_MISMATCH' || tries > 1) throw error;
    }
  }
}
