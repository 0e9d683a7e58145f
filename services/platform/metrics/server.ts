// SPDX-License-Identifier: Apache-2.0
import { createServer, type RequestListener, type Server } from 'node:http';
import type { PrometheusMetrics } from './prometheus.js';

/** What is told over HTTP. */
export interface MetricsServerOptions {
  /** host:port; port 0 takes a free one. */
  listen: string;
  metrics: Pick<PrometheusMetrics, 'text' | 'contentType'>;
  /** Why the service does not live as it should; empty where it does. */
  notLive: () => string;
  /** Why the service cannot do its work now; empty where it can. */
  notReady: () => string;
}

/** A server of `/metrics`, `/livez` and `/readyz`. */
export interface MetricsServer {
  /** host:port, with the port that was taken. */
  readonly address: string;
  close(): Promise<void>;
}

const MOST_CONNECTIONS = 64;
const REQUEST_LIMIT_MS = 10_000;
const TEXT = 'text/plain; charset=utf-8';

/** Serves what monitoring asks for. Rejects where the address cannot be taken. */
export async function serveMetrics({ listen, ...sources }: MetricsServerOptions): Promise<MetricsServer> {
  const server = createServer({ requestTimeout: REQUEST_LIMIT_MS, headersTimeout: REQUEST_LIMIT_MS }, answers(sources));
  server.maxConnections = MOST_CONNECTIONS;
  const colon = listen.lastIndexOf(':');
  const host = listen.slice(0, colon);
  const port = await listening(server, host.replace(/^\[|\]$/g, ''), Number(listen.slice(colon + 1)));
  return {
    address: `${host}:${String(port)}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => { resolve(); });
        server.closeAllConnections();
      }),
  };
}

/** The status and the words of each path. */
function answers({ metrics, notLive, notReady }: Omit<MetricsServerOptions, 'listen'>): RequestListener {
  const verdict = (trouble: string) => ({
    status: trouble === '' ? 200 : 503,
    type: TEXT,
    body: `${trouble === '' ? 'ok' : trouble}\n`,
  });
  const answerTo = async (path: string) => {
    switch (path) {
      case '/metrics':
        return { status: 200, type: metrics.contentType, body: await metrics.text() };
      case '/livez':
        return verdict(notLive());
      case '/readyz':
        return verdict(notReady());
      default:
        return { status: 404, type: TEXT, body: 'known here: /metrics, /livez, /readyz\n' };
    }
  };
  return (request, response) => {
    const send = (status: number, type: string, body: string): void => {
      response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' });
      response.end(request.method === 'HEAD' ? undefined : body);
    };
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.setHeader('allow', 'GET, HEAD');
      send(405, TEXT, 'only GET and HEAD\n');
      return;
    }
    answerTo((request.url ?? '').replace(/\?.*$/, '')).then(
      ({ status, type, body }) => { send(status, type, body); },
      (error: unknown) => { send(500, TEXT, `${error instanceof Error ? error.message : String(error)}\n`); },
    );
  };
}

function listening(server: Server, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      const address = server.address();
      resolve(address === null || typeof address === 'string' ? port : address.port);
    });
  });
}
