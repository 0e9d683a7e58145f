// SPDX-License-Identifier: Apache-2.0
import { MigrationState, MigrationStep, type Migration } from '@lockstep/sdk/v1';
import { milliseconds } from '../core/duration.js';
import { isTerminal } from '../core/migration/transitions.js';
import { enumLabels } from '../platform/metrics/enum-labels.js';
import { silentMetrics } from '../platform/metrics/metrics.js';
import type { Leading } from './term.js';

const steps = enumLabels(MigrationStep);
const states = enumLabels(MigrationState);
const STEP_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 15, 60, 300, 1_800];
const GAP_SECONDS = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 5, 30];

/** Counts what the leader sees in its own records, for as long as it leads. */
export function countMigrations({ env, term, migrations, vms, nodes }: Leading): void {
  const metrics = env.metrics ?? silentMetrics;
  const stepSeconds = metrics.histogram({
    name: 'lockstep_migration_step_seconds',
    help: 'How long the steps of migrations take.',
    labels: { step: steps.all, ok: ['true', 'false'] },
    buckets: STEP_SECONDS,
  });
  const gapSeconds = metrics.histogram({
    name: 'lockstep_migration_downtime_seconds',
    help: 'How long guests stood still when they moved.',
    buckets: GAP_SECONDS,
  });
  const ended = metrics.counter({
    name: 'lockstep_migrations_ended_total',
    help: 'Migrations that this replica closed, by the state they ended in.',
    labels: { state: states.all },
  });
  const recorded = metrics.gauge({
    name: 'lockstep_migrations',
    help: 'Migrations on record at the leader, by state.',
    labels: { state: states.all },
  });
  const known = metrics.gauge({ name: 'lockstep_vms', help: 'VMs on record at the leader.' });
  const connected = metrics.gauge({
    name: 'lockstep_nodes',
    help: 'Nodes that the leader knows, by whether their agents are heard.',
    labels: { heard: ['true', 'false'] },
  });

  const closed = new Set(migrations.all().flatMap(({ record }) => (isTerminal(record.state) ? [record.id] : [])));
  const close = ({ state, phases, outcome }: Migration): void => {
    ended.add({ state: states.of(state) });
    for (const { step, ok, duration } of phases) {
      if (duration !== undefined) {
        stepSeconds.observe({ step: steps.of(step), ok: String(ok) }, milliseconds(duration, 0) / 1_000);
      }
    }
    if (outcome?.downtime !== undefined) gapSeconds.observe({}, milliseconds(outcome.downtime, 0) / 1_000);
  };
  const unlisten = migrations.onChange((names) => {
    for (const name of names) {
      const record = migrations.get(name)?.record;
      if (record === undefined) closed.delete(name);
      else if (isTerminal(record.state) && !closed.has(name)) {
        closed.add(name);
        close(record);
      }
    }
  });
  const unshow = metrics.onScrape(() => {
    const counts = new Map(states.all.map((label) => [label, 0]));
    for (const { record } of migrations.all()) {
      const label = states.of(record.state);
      counts.set(label, (counts.get(label) ?? 0) + 1);
    }
    for (const [state, count] of counts) recorded.set({ state }, count);
    known.set({}, vms.size);
    const heard = nodes.nodes().filter((node) => node.connected).length;
    connected.set({ heard: 'true' }, heard);
    connected.set({ heard: 'false' }, nodes.nodes().length - heard);
  });
  // A replica that leads no more knows nothing: its figures would be old ones.
  term.ended.addEventListener(
    'abort',
    () => {
      unlisten();
      unshow();
      recorded.reset();
      known.reset();
      connected.reset();
    },
    { once: true },
  );
}
