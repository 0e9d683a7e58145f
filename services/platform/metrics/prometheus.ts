// SPDX-License-Identifier: Apache-2.0
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { Logger } from '../log/log.js';
import type { HistogramSpec, LabelBound, Labels, Metrics, MetricSpec } from './metrics.js';

/** Metrics that Prometheus can fetch. */
export interface PrometheusMetrics extends Metrics {
  /** All figures as of now, in Prometheus' text format. Never fails: what cannot be told is left out and counted. */
  text(): Promise<string>;
  readonly contentType: string;
}

export interface PrometheusOptions {
  log: Logger;
  /** Figures of the process besides: CPU time, memory, file descriptors, garbage collection. */
  ofProcess?: boolean | undefined;
}

const OTHER = 'other';
const CALL_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** A registry of its own, so that several services in one process do not mix. */
export function createPrometheusMetrics({ log, ofProcess = false }: PrometheusOptions): PrometheusMetrics {
  const registry = new Registry();
  if (ofProcess) collectDefaultMetrics({ register: registry });
  const refreshes = new Set<() => void>();
  const known = new Map<string, unknown>();
  const once = <T>(name: string, make: () => T): T => {
    const found = known.get(name) as T | undefined;
    if (found !== undefined) return found;
    const made = make();
    known.set(name, made);
    return made;
  };
  const common = <L extends string>({ name, help, labels }: MetricSpec<L>) => ({
    name,
    help,
    labelNames: Object.keys(labels ?? {}) as L[],
    registers: [registry],
  });
  /** A figure that is no number must not break those that are. */
  const finite = (name: string, value: number, use: () => void): void => {
    if (Number.isFinite(value)) use();
    else log.debug('a figure is no number and is left out', { name });
  };

  const metrics: Metrics = {
    counter: (spec) =>
      once(spec.name, () => {
        const counter = new Counter(common(spec));
        const bounded = bounds(spec.labels);
        return {
          add: (labels, amount = 1) => {
            if (amount >= 0) finite(spec.name, amount, () => { counter.inc(bounded(labels), amount); });
          },
        };
      }),
    gauge: (spec) =>
      once(spec.name, () => {
        const gauge = new Gauge(common(spec));
        let bounded = bounds(spec.labels);
        return {
          set: (labels, value) => {
            finite(spec.name, value, () => { gauge.set(bounded(labels), value); });
          },
          reset: () => {
            gauge.reset();
            bounded = bounds(spec.labels);
          },
        };
      }),
    histogram: <L extends string>(spec: HistogramSpec<L>) =>
      once(spec.name, () => {
        const histogram = new Histogram({ ...common(spec), buckets: [...(spec.buckets ?? CALL_SECONDS)] });
        const bounded = bounds(spec.labels);
        return {
          observe: (labels: Labels<L>, value: number) => {
            finite(spec.name, value, () => { histogram.observe(bounded(labels), value); });
          },
        };
      }),
    onScrape: (refresh) => {
      refreshes.add(refresh);
      return () => refreshes.delete(refresh);
    },
  };

  const failures = metrics.counter({
    name: 'lockstep_scrape_failures_total',
    help: 'Times that some figures could not be told when they were asked for.',
  });
  failures.add({}, 0);

  return {
    ...metrics,
    contentType: registry.contentType,
    text: async () => {
      for (const refresh of refreshes) {
        try {
          refresh();
        } catch (error) {
          failures.add({});
          log.warn('some figures cannot be told', { error });
        }
      }
      return await registry.metrics();
    },
  };
}

/** Keeps labels within their bounds, so that no input of any kind makes the number of series grow without end. */
function bounds<L extends string>(labels: MetricSpec<L>['labels']): (given: Labels<L>) => Record<L, string> {
  const checks = new Map(
    Object.entries<LabelBound>(labels ?? ({})).map(([label, bound]) => [label, within(bound)]),
  );
  return (given) =>
    Object.fromEntries(
      Object.entries<string>(given).map(([label, value]) => [label, checks.get(label)?.(value) ?? OTHER]),
    ) as Record<L, string>;
}

function within(bound: LabelBound): (value: string) => string {
  if (!('most' in bound)) return (value) => (bound.includes(value) ? value : OTHER);
  const seen = new Set<string>();
  return (value) => {
    if (!seen.has(value) && seen.size >= bound.most) return OTHER;
    seen.add(value);
    return value;
  };
}
