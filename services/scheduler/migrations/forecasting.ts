// SPDX-License-Identifier: Apache-2.0
import { MigrationState, MigrationStep, type Migration, type MigrationForecast, type PrepareResponse } from '@lockstep/sdk/v1';
import { durationOf, milliseconds } from '../../core/duration.js';
import { forecast } from '../../core/migration/forecast.js';
import type { Leading } from '../term.js';
import type { Attempt } from './attempt.js';
import { bandwidthLimit, convergenceLimits } from './limits.js';

/** A link that nobody has moved anything over yet is taken for one of 10 Gbit/s. */
const UNKNOWN_LINK = 1.1e9;
/** Shorter transfers say more of their beginning and end than of the link. */
const TELLING_MS = 100;
const LOOKED_AT = 5;
/** A first pass that is over sooner is not worth the time that measuring takes. Of a fresh guest little is known yet. */
const WORTH_MEASURING_MS = 250;

/** What QEMU takes for itself of what its process is said to hold, and what is sent of any guest at least. */
const QEMU_OWN_BYTES = 40 * 1024 ** 2;
const LEAST_BYTES = 8 * 1024 ** 2;

/** About what the guest has touched, as its node last said; all of its memory where it said nothing. */
function reportedBytes(attempt: Attempt): number {
  const { record } = attempt.open().vm;
  const all = Number(record.spec?.memoryBytes ?? 0n);
  const reported = attempt.leading.nodes.node(record.placement?.node ?? '')?.report?.vms.get(record.id)?.status?.memoryUsedBytes ?? 0n;
  return reported === 0n ? all : Math.min(Math.max(Number(reported) - QEMU_OWN_BYTES, LEAST_BYTES), all);
}

/** How fast memory goes from one node to another: as it went lately, and never faster than allowed. Bytes per second. */
function bandwidth(attempt: Attempt): number {
  const open = attempt.open();
  const limit = Number(bandwidthLimit(open));
  const seen = seenBandwidth(attempt.leading, open.migration.record);
  return limit === 0 ? seen : Math.min(seen, limit);
}

/** The best of the last transfers over this link, and where there was none, of those from the same source. */
function seenBandwidth({ migrations }: Leading, { sourceNode, targetNode }: Migration): number {
  const ended = migrations
    .all()
    .map(({ record }) => record)
    .filter((record) => record.state === MigrationState.SUCCEEDED && record.sourceNode === sourceNode && rateOf(record) > 0)
    .sort((a, b) => (a.id < b.id ? 1 : -1));
  const sameLink = ended.filter((record) => record.targetNode === targetNode);
  const told = (sameLink.length > 0 ? sameLink : ended).slice(0, LOOKED_AT).map(rateOf);
  return told.length === 0 ? UNKNOWN_LINK : Math.max(...told);
}

/** Bytes per second that a transfer sent; 0 where it tells nothing of its link. */
function rateOf({ phases, outcome, bandwidthLimitBytesPerSecond }: Migration): number {
  if (bandwidthLimitBytesPerSecond !== 0n) return 0;
  const transfer = phases.find(({ step, ok }) => ok && step === MigrationStep.TRANSFER);
  const tookMs = milliseconds(transfer?.duration, 0);
  return tookMs < TELLING_MS ? 0 : (Number(outcome?.memorySentBytes ?? 0n) / tookMs) * 1000;
}

/** Whether it is worth some seconds to measure the guest before it moves. */
export function worthMeasuring(attempt: Attempt): boolean {
  return (reportedBytes(attempt) / bandwidth(attempt)) * 1000 > WORTH_MEASURING_MS;
}

/** What the source measured, where it was worth the time. */
type Measured = Pick<PrepareResponse, 'dirtyRateBytesPerSecond' | 'touchedBytes'>;

/** What the transfer is expected to take. A rate that was not measured is taken for next to nothing. */
export function forecastOf(attempt: Attempt, { dirtyRateBytesPerSecond, touchedBytes }: Measured): MigrationForecast {
  const { durationMs, downtimeMs, converges } = forecast({
    ...convergenceLimits(attempt.open()),
    touchedBytes: touchedBytes === undefined ? reportedBytes(attempt) : Number(touchedBytes),
    dirtyRateBytesPerSecond: Number(dirtyRateBytesPerSecond ?? 0n),
    bandwidthBytesPerSecond: bandwidth(attempt),
  });
  return { duration: durationOf(durationMs), downtime: durationOf(downtimeMs), converges };
}
