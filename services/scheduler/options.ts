// SPDX-License-Identifier: Apache-2.0
import { ClusterOptions, EventSeverity, Selector, ShutdownPolicy } from '@lockstep/sdk/v1';
import { invalidField, LockstepError } from '../core/errors/catalogue.js';
import { optionsCodec } from '../core/records/codec.js';
import { keys } from '../core/records/keys.js';
import { subjects } from '../membership/events.js';
import { LostTransaction } from '../membership/ledger.js';
import type { Env } from '../platform/env.js';
import type { Leading } from './term.js';

const LARGEST_RATIO = 1_000;

/** Writes the cluster's options, whole. Fails with INVALID_FIELD, or ETAG_MISMATCH where others were quicker. */
export async function updateOptions(leading: Leading, options: ClusterOptions | undefined): Promise<ClusterOptions> {
  if (options === undefined) throw invalidField('options', 'nothing', 'the options, whole');
  check(options);
  const present = leading.options?.etag ?? '';
  if (options.etag !== '' && options.etag !== present) throw changedMeanwhile(options.etag, present);
  const told = leading.events.step({
    severity: EventSeverity.INFO,
    reason: 'OPTIONS_CHANGED',
    message: `the cluster's options are now ${JSON.stringify(ClusterOptions.toJSON({ ...options, etag: '' }))}`,
    subject: subjects.cluster,
  });
  try {
    const index = await leading.ledger.write([
      { op: 'cas', key: keys.options, value: optionsCodec.encode(options), index: BigInt(present === '' ? 0 : present) },
      told,
    ]);
    leading.options = { ...options, etag: index.toString() };
    return leading.options;
  } catch (error) {
    // A write whose outcome nobody told, this one or one before it, may have gone through: what is on record holds.
    await readAgain(leading);
    if (error instanceof LostTransaction) throw changedMeanwhile(options.etag, leading.options?.etag ?? '');
    throw error;
  }
}

/** Fails with the store's own errors. */
export async function readOptions(env: Env): Promise<ClusterOptions | undefined> {
  const entry = await env.store.get(keys.options, { consistency: 'consistent' });
  return entry === undefined ? undefined : optionsCodec.decode(entry.value, entry.index);
}

/** Never rejects: what cannot be read now is read at the next try to write. */
async function readAgain(leading: Leading): Promise<void> {
  leading.options = await readOptions(leading.env).catch((error: unknown) => {
    leading.env.log.child('options').warn('cannot be read again', { error });
    return leading.options;
  });
}

function changedMeanwhile(got: string, want: string): LockstepError {
  const metadata = { field: 'options.etag', got, want };
  return new LockstepError('ETAG_MISMATCH', 'the options were changed by somebody else meanwhile; read them again', metadata);
}

function check(options: ClusterOptions): void {
  for (const [field, ratio] of [['memory_ratio', options.memoryRatio], ['vcpu_ratio', options.vcpuRatio]] as const) {
    if (ratio === undefined || (Number.isFinite(ratio) && ratio > 0 && ratio <= LARGEST_RATIO)) continue;
    throw invalidField(`options.${field}`, String(ratio), `more than 0, at most ${String(LARGEST_RATIO)}`);
  }
  const limits = [
    ['migrations_out_per_node', options.migrationsOutPerNode],
    ['migrations_in_per_node', options.migrationsInPerNode],
    ['migrations_per_cluster', options.migrationsPerCluster],
  ] as const;
  for (const [field, limit] of limits) {
    if (limit === 0) throw invalidField(`options.${field}`, '0', 'at least 1');
  }
  checkKnown('options.selector', Selector, options.selector);
  checkKnown('options.shutdown_policy', ShutdownPolicy, options.shutdownPolicy);
}

function checkKnown(field: string, words: Readonly<Record<string, number>>, value: number): void {
  const known = Object.entries(words).filter(([name]) => name !== 'UNRECOGNIZED');
  if (known.some(([, number]) => number === value)) return;
  throw invalidField(field, String(value), `one of ${known.map(([name]) => name).join(', ')}`);
}
