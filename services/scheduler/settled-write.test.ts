// SPDX-License-Identifier: Apache-2.0
import { Migration, MigrationState } from '@lockstep/sdk/v1';
import { expect, it } from 'vitest';
import { LockstepError } from '../core/errors/catalogue.js';
import { migrationCodec } from '../core/records/codec.js';
import { keys } from '../core/records/keys.js';
import { LostTransaction } from '../membership/ledger.js';
import { createVirtualClock } from '../platform/clock/virtual.js';
import { writeUntilKnown } from './settled-write.js';
import type { Leading } from './term.js';

const ASKED = Migration.create({ id: 'm-1', vmId: 'vm-1', state: MigrationState.PENDING });

/** Writes a new move where the first try's outcome is not told, and the second one finds this on record. */
async function writtenBeside(onRecord: Migration | undefined): Promise<{ record: Migration; index: bigint }> {
  const clock = createVirtualClock();
  const failures = [new LockstepError('OUTCOME_UNKNOWN', 'the store lost its leader'), new LostTransaction(undefined)];
  const entry =
    onRecord === undefined ? undefined : { key: keys.migration('m-1'), value: migrationCodec.encode(onRecord), index: 9n, session: undefined };
  const leading = {
    env: { clock, store: { get: () => Promise.resolve(entry) } },
    term: { ended: new AbortController().signal },
    ledger: { write: () => Promise.reject(failures.shift() ?? new LostTransaction(undefined)) },
  };
  const own = { key: keys.migration('m-1'), codec: migrationCodec, record: ASKED, isOurs: ({ requestId }: Migration) => requestId === '' };
  const written = writeUntilKnown(leading as unknown as Leading, [], own);
  written.catch(() => undefined);
  await clock.advance(60_000);
  return await written;
}

it('a move that was opened before its creation was known is known as it is on record, not as it was asked for', async () => {
  const opened = { ...ASKED, state: MigrationState.PREPARING, placementEpoch: 3n };
  const { record, index } = await writtenBeside(opened);
  expect(record).toMatchObject({ state: MigrationState.PREPARING, placementEpoch: 3n, etag: '9' });
  expect(index).toBe(9n);
});

it('a creation that lost to somebody else is lost', async () => {
  await expect(writtenBeside({ ...ASKED, requestId: 'another' })).rejects.toBeInstanceOf(LostTransaction);
});

it('a creation whose outcome stays unknown is told as such', async () => {
  await expect(writtenBeside(undefined)).rejects.toMatchObject({ reason: 'OUTCOME_UNKNOWN' });
});
