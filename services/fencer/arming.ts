// SPDX-License-Identifier: Apache-2.0
import { Arming, DisarmMode, EventSeverity } from '@lockstep/sdk/v1';
import { invalidField } from '../core/errors/catalogue.js';
import { armingCodec } from '../core/records/codec.js';
import { keys, nameOf } from '../core/records/keys.js';
import { retryLost } from '../membership/ledger.js';
import type { FencerLeading } from './leading.js';

const NAME = nameOf(keys.arming);

/** How and why the Fencer stands still; undefined: it is armed. */
export function disarmed({ arming }: Pick<FencerLeading, 'arming'>): Arming | undefined {
  const stored = arming.get(NAME);
  return stored === undefined || stored.record.mode === DisarmMode.UNSPECIFIED ? undefined : stored.record;
}

/** Lets the Fencer act, or keeps it from beginning anything: an action that is running is finished. Idempotent. */
export async function setArming(leading: FencerLeading, wanted: { mode: DisarmMode; reason: string; by: string }): Promise<Arming> {
  const { env, ledger, arming, tell } = leading;
  const { mode, reason, by } = wanted;
  if (mode === DisarmMode.UNRECOGNIZED) throw invalidField('mode', String(mode), 'FREEZE or IGNORE');
  const isArmed = mode === DisarmMode.UNSPECIFIED;
  const record = await retryLost(env, async () => {
    const stored = arming.get(NAME);
    const next = Arming.create({ mode, reason, by, time: env.clock.wallTime() });
    const before = stored?.index ?? 0n;
    const index = await ledger.write([{ op: 'cas', key: keys.arming, value: armingCodec.encode(next), index: before }]);
    arming.put(NAME, { record: next, index });
    return next;
  });
  const how = mode === DisarmMode.IGNORE ? 'ignore' : 'freeze';
  await tell({
    severity: isArmed ? EventSeverity.INFO : EventSeverity.WARNING,
    reason: isArmed ? 'FENCER_ARMED' : 'FENCER_DISARMED',
    message: isArmed ? 'the Fencer is armed' : `the Fencer is disarmed (${how}): ${reason}`,
    subject: 'cluster',
    actor: by,
  });
  return record;
}
