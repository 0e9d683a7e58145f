// SPDX-License-Identifier: Apache-2.0
import { systemClock } from '../clock/system.js';
import type { Logger } from '../log/log.js';
import type { PrometheusMetrics } from '../metrics/prometheus.js';
import { serveMetrics, type MetricsServer } from '../metrics/server.js';
import { watchLoopDelay } from './loop-delay.js';
import { keepAlive, type Notifier } from './notify.js';
import type { RunningService } from './run.js';

/** What is told of a service, to whom and where. */
export interface MonitoringOptions {
  name: string;
  config: { metrics_listen?: string | undefined };
  /** Where the service listens, host:port. */
  address: string;
  running: Pick<RunningService, 'notReady' | 'notLive' | 'leads'>;
  metrics: PrometheusMetrics;
  notifier: Notifier;
  log: Logger;
}

/** Metrics are told this many ports above the service, unless told otherwise. */
const PORTS_ABOVE = 10;

/** Tells Prometheus, probes and the service manager how a service is, until it is closed. */
export async function monitor(options: MonitoringOptions): Promise<{ close(): Promise<void> }> {
  const { name, running, metrics, notifier, log } = options;
  const stopping = new AbortController();
  const loop = watchLoopDelay();
  const notLive = (): string => running.notLive?.() ?? '';

  const delay = metrics.gauge({
    name: 'lockstep_event_loop_delay_worst_seconds',
    help: 'The longest time the event loop was held up since the last scrape.',
  });
  const ready = metrics.gauge({ name: 'lockstep_ready', help: '1 where the service can do its work, as /readyz says.' });
  const leader = metrics.gauge({
    name: 'lockstep_leader',
    help: '1 where this replica leads, 0 where it does not.',
    labels: { role: ['scheduler', 'fencer'] },
  });
  metrics.onScrape(() => {
    delay.set({}, loop.worstMs() / 1_000);
    ready.set({}, running.notReady() === '' ? 1 : 0);
    const leads = running.leads?.();
    if (leads !== undefined) leader.set({ role: name }, leads ? 1 : 0);
  });

  const server = await served(options, notLive);
  void keepAlive({ clock: systemClock, log: log.child('watchdog'), notifier, notLive, stopped: stopping.signal });
  return {
    close: async () => {
      stopping.abort();
      loop.stop();
      await server?.close();
    },
  };
}

/** A service whose metrics cannot be told works on: machines matter more than their figures. */
async function served(options: MonitoringOptions, notLive: () => string): Promise<MetricsServer | undefined> {
  const { config, address, metrics, running, log } = options;
  const listen = config.metrics_listen ?? portsAbove(address);
  if (listen === 'off') return undefined;
  try {
    const server = await serveMetrics({ listen, metrics, notLive, notReady: () => running.notReady() });
    log.log('s', `metrics and health at ${server.address}`);
    return server;
  } catch (error) {
    log.error(`metrics and health cannot be told at ${listen}; metrics_listen names another place`, { error });
    return undefined;
  }
}

function portsAbove(address: string): string {
  const colon = address.lastIndexOf(':');
  return `${address.slice(0, colon)}:${String(Number(address.slice(colon + 1)) + PORTS_ABOVE)}`;
}
