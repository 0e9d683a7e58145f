// SPDX-License-Identifier: Apache-2.0
import {
  Migration,
  MigrationMode,
  MigrationRole,
  MigrationState,
  MigrationStep,
  type MigrationPhase,
} from '@lockstep/sdk/v1';
import type { Page, View } from '../print.js';
import { renderFacts, type Column } from '../table.js';
import { formatAge, formatBytes, formatDuration, formatMs, formatRate, NONE } from '../units.js';
import { colourOfState, wordOf } from '../words.js';

export const migrationState = (migration: Migration): string => wordOf(MigrationState, migration.state);

/** Reason code, and what is waited for while it is queued. */
function reasonOf(migration: Migration): string {
  return migration.reason === '' ? migration.waitingReason : migration.reason;
}

function modeOf(migration: Migration): string {
  const requested = wordOf(MigrationMode, migration.modeRequested);
  const used = wordOf(MigrationMode, migration.modeUsed);
  const mode = used === NONE || used === requested ? requested : `${requested}, done as ${used}`;
  return migration.postCopy ? `${mode}, post-copy` : mode;
}

const columns = (nowMs: number): readonly Column<Migration>[] => [
  { header: 'ID', text: (migration) => migration.id },
  { header: 'VM', text: (migration) => migration.vmName },
  { header: 'SOURCE', text: (migration) => migration.sourceNode },
  { header: 'TARGET', text: (migration) => migration.targetNode },
  { header: 'STATE', text: migrationState, colour: (migration) => colourOfState(migrationState(migration)) },
  { header: 'DOWNTIME', text: (migration) => formatDuration(migration.outcome?.downtime), align: 'right' },
  { header: 'AGE', text: (migration) => formatAge(migration.createTime, nowMs), align: 'right' },
  { header: 'MODE', text: modeOf, wide: true },
  { header: 'GAP', text: (migration) => formatDuration(migration.outcome?.gap), align: 'right', wide: true },
  { header: 'TOTAL', text: (migration) => formatDuration(migration.outcome?.total), align: 'right', wide: true },
  { header: 'REASON', text: reasonOf, wide: true, shrinks: true },
];

/** One step of the journal, with the time at which the first began. */
interface Step {
  phase: MigrationPhase;
  beganMs: number | undefined;
}

const ENDS = /_(SOURCE|TARGET)$/;

/** The Scheduler's own steps belong to no side. */
function sideOf({ phase }: Step): string {
  const side = wordOf(MigrationRole, phase.side).toLowerCase();
  return side === NONE ? (ENDS.exec(wordOf(MigrationStep, phase.step))?.[1]?.toLowerCase() ?? 'scheduler') : side;
}

function startOffset({ phase, beganMs }: Step): string {
  if (phase.startTime === undefined || beganMs === undefined) return NONE;
  return `+${formatMs(phase.startTime.getTime() - beganMs)}`;
}

function resultOf({ phase }: Step): string {
  if (phase.endTime === undefined && phase.duration === undefined) return 'under way';
  return phase.ok ? 'ok' : 'failed';
}

const COLOUR_OF_RESULT = { ok: 'green', failed: 'red' } as const;

const stepColumns: readonly Column<Step>[] = [
  { header: 'PHASE', text: ({ phase }) => wordOf(MigrationStep, phase.step).replace(ENDS, '') },
  { header: 'SIDE', text: sideOf },
  { header: 'START', text: startOffset, align: 'right' },
  { header: 'DURATION', text: ({ phase }) => formatDuration(phase.duration), align: 'right' },
  {
    header: 'RESULT',
    text: resultOf,
    colour: (step) => {
      const result = resultOf(step);
      return result === 'ok' || result === 'failed' ? COLOUR_OF_RESULT[result] : 'cyan';
    },
  },
  { header: 'DETAIL', text: ({ phase }) => phase.detail, shrinks: true },
];

/** What was sent, in one phrase; empty where nothing is known. */
function sentOf(migration: Migration): string {
  const outcome = migration.outcome;
  if (outcome === undefined || outcome.memorySentBytes === 0n) return '';
  const passes = outcome.iterations === 1 ? '1 pass' : `${String(outcome.iterations)} passes`;
  return `${formatBytes(outcome.memorySentBytes)} in ${passes}`;
}

function forecastOf(migration: Migration): string {
  const forecast = migration.forecast;
  if (forecast === undefined) return '';
  const figures = `${formatDuration(forecast.duration)}, downtime ${formatDuration(forecast.downtime)}`;
  return forecast.converges ? figures : `${figures}, not expected to converge`;
}

function progressOf(migration: Migration): string {
  const progress = migration.progress;
  if (progress === undefined || migration.endTime !== undefined) return '';
  return [
    `${formatBytes(progress.memorySentBytes)} sent`,
    `${formatBytes(progress.memoryRemainingBytes)} left`,
    `dirty ${formatRate(progress.dirtyRateBytesPerSecond)}`,
  ].join(', ');
}

function details(migration: Migration, page: Page): string {
  const state = migrationState(migration);
  const limit = migration.bandwidthLimitBytesPerSecond;
  const facts = renderFacts(
    [
      ['Migration', migration.id],
      ['VM', `${migration.vmName} (${migration.vmId})`],
      ['Source', migration.sourceNode],
      ['Target', migration.targetNode],
      ['Mode', modeOf(migration)],
      ['State', state, colourOfState(state)],
      ['Reason', reasonOf(migration)],
      ['Detail', migration.detail],
      ['Priority', migration.priority === 0 ? '' : String(migration.priority)],
      ['Cancel', migration.cancelRequested ? 'asked for' : ''],
      ['Asked', migration.createTime?.toISOString() ?? ''],
      ['Limit', limit === 0n ? '' : formatRate(limit)],
      ['Forecast', forecastOf(migration)],
      ['Progress', progressOf(migration)],
      ['Queued', formatDuration(migration.outcome?.queued)],
      ['Downtime', formatDuration(migration.outcome?.downtime)],
      ['Gap', formatDuration(migration.outcome?.gap)],
      ['Total', formatDuration(migration.outcome?.total)],
      ['Sent', sentOf(migration)],
    ],
    page.paint,
  );
  if (migration.phases.length === 0) return facts;
  const beganMs = migration.phases[0]?.startTime?.getTime();
  return `${facts}\n${page.table(
    stepColumns,
    migration.phases.map((phase) => ({ phase, beganMs })),
  )}`;
}

export const migrationView: View<Migration> = {
  columns,
  name: (migration) => migration.id,
  toJson: (migration) => Migration.toJSON(migration),
  details,
};
