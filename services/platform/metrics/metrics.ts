// SPDX-License-Identifier: Apache-2.0

/** What bounds a label: the values it may take, or how many different ones are kept. Anything else counts as `other`. */
export type LabelBound = readonly string[] | { most: number };

/** A metric and its labels. Names as Prometheus wants them: base units, `_total` for counters. */
export interface MetricSpec<L extends string> {
  name: string;
  help: string;
  labels?: Readonly<Record<L, LabelBound>> | undefined;
}

export interface HistogramSpec<L extends string> extends MetricSpec<L> {
  /** Upper bounds, ascending, in the metric's unit; those of short calls in seconds unless told. */
  buckets?: readonly number[] | undefined;
}

export type Labels<L extends string> = Readonly<Record<L, string>>;

export interface Counter<L extends string> {
  add(labels: Labels<L>, amount?: number): void;
}

export interface Gauge<L extends string> {
  set(labels: Labels<L>, value: number): void;
  /** Forgets every value: what is not set again is not shown any more. */
  reset(): void;
}

export interface Histogram<L extends string> {
  observe(labels: Labels<L>, value: number): void;
}

/** Where a service counts. Asking for a metric again gives the same one; nothing here ever throws at its user. */
export interface Metrics {
  counter<L extends string = never>(spec: MetricSpec<L>): Counter<L>;
  gauge<L extends string = never>(spec: MetricSpec<L>): Gauge<L>;
  histogram<L extends string = never>(spec: HistogramSpec<L>): Histogram<L>;
  /** Called before the figures are shown, to set what is true now. Returns a function that ends it. */
  onScrape(refresh: () => void): () => void;
}

/** Counts nothing. */
export const silentMetrics: Metrics = {
  counter: () => ({ add: () => undefined }),
  gauge: () => ({ set: () => undefined, reset: () => undefined }),
  histogram: () => ({ observe: () => undefined }),
  onScrape: () => () => undefined,
};
