// SPDX-License-Identifier: Apache-2.0
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { attempt, ports, run, until } from '../../deploy/lab/api.js';
import { removeGuests, startGuest } from './guest.js';
import { lab, meshUp, ok } from './mesh.js';

const METRICS_ABOVE = 10;
const LIMIT_MS = 120_000;
const rules = join(lab.checkout, 'deploy/prometheus');
const dashboards = join(lab.checkout, 'deploy/grafana');

let prometheus: ChildProcess;
let folder: string;
let port: number;

interface Query {
  dashboard: string;
  panel: string;
  expr: string;
}

/** Every query of every panel, with Grafana's variables filled in as it fills them. */
function queries(): Query[] {
  return readdirSync(dashboards).flatMap((file) => {
    const { panels } = JSON.parse(readFileSync(join(dashboards, file), 'utf8')) as {
      panels: { title: string; targets: { expr: string }[] }[];
    };
    return panels.flatMap(({ title, targets }) =>
      targets.map(({ expr }) => ({
        dashboard: file,
        panel: title,
        expr: expr.replaceAll('$instance', '.*').replaceAll('$__rate_interval', '1m'),
      })),
    );
  });
}

/** Asks Prometheus by its own API, as Grafana does. */
async function ask<T>(path: string, query: Record<string, string> = {}): Promise<T> {
  const answer = await fetch(`http://127.0.0.1:${port}${path}?${new URLSearchParams(query).toString()}`);
  const { status, data, error } = (await answer.json()) as { status: string; data: T; error?: string };
  if (status !== 'success') throw new Error(`${path}: ${error ?? status}`);
  return data;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** The configuration that is shipped, with this lab's hosts in it, and scraping as often as a test needs. */
function configuration(): string {
  const shipped = parse(readFileSync(join(rules, 'prometheus.yml'), 'utf8')) as {
    scrape_configs: { job_name: string; static_configs: { targets: string[] }[] }[];
  };
  const scrape_configs = shipped.scrape_configs.map((each) => {
    const service = each.job_name.replace('lockstep-', '') as keyof typeof ports;
    const targets = lab.hosts.map((host) => `${host.addresses.a}:${ports[service] + METRICS_ABOVE}`);
    return { ...each, static_configs: [{ targets }] };
  });
  const global = { scrape_interval: '2s', evaluation_interval: '2s' };
  return stringify({ ...shipped, global, rule_files: [join(rules, 'lockstep.rules.yml')], scrape_configs });
}

beforeAll(async () => {
  await meshUp();
  folder = mkdtempSync(join(tmpdir(), 'lockstep-prometheus-'));
  port = await freePort();
  writeFileSync(join(folder, 'prometheus.yml'), configuration());
  prometheus = spawn(
    'prometheus',
    [
      `--config.file=${join(folder, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(folder, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
      '--log.level=error',
    ],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  );
  await until('Prometheus answers', LIMIT_MS, async () => {
    const { code, stderr } = await attempt('promtool', ['query', 'instant', `http://127.0.0.1:${port}`, '1']);
    return code === 0 ? undefined : stderr;
  });
});
afterEach(removeGuests);
afterAll(async () => {
  const gone = new Promise((resolve) => prometheus.once('close', resolve));
  prometheus.kill('SIGKILL');
  await gone;
  rmSync(folder, { recursive: true, force: true });
});

it('the alert rules raise what they are about, by promtool', async () => {
  await run('promtool', ['check', 'rules', join(rules, 'lockstep.rules.yml')]);
  await run('promtool', ['test', 'rules', join(rules, 'lockstep.rules.test.yml')]);
});

it('Prometheus loads every rule and finds every service; each query of the dashboards has a series', async () => {
  const guest = await startGuest('h1');
  await ok('vm', 'migrate', guest.name, 'h2', '--force-live', '--wait', '--timeout', '120s');

  await until('it has found every service', LIMIT_MS, async () => {
    const { activeTargets } = await ask<{ activeTargets: { health: string; scrapeUrl: string; lastError: string }[] }>('/api/v1/targets');
    if (activeTargets.length < 3 * lab.hosts.length) return `${String(activeTargets.length)} targets`;
    expect(activeTargets).toHaveLength(3 * lab.hosts.length);
    const down = activeTargets.filter(({ health }) => health !== 'up');
    return down.length === 0 ? undefined : down.map(({ scrapeUrl, lastError }) => `${scrapeUrl} ${lastError}`).join('; ');
  });

  await until('every rule was evaluated', LIMIT_MS, async () => {
    const { groups } = await ask<{ groups: { rules: { name: string; health: string; lastError?: string }[] }[] }>('/api/v1/rules');
    const loaded = groups.flatMap((group) => group.rules);
    if (loaded.length <= 15) return `${String(loaded.length)} rules`;
    const unwell = loaded.filter(({ health }) => health !== 'ok');
    return unwell.length === 0 ? undefined : unwell.map(({ name, lastError }) => `${name} ${lastError ?? ''}`).join('; ');
  });

  const all = queries();
  expect(all.length).toBeGreaterThan(25);
  await until('every query of the dashboards has a series', LIMIT_MS, async () => {
    const empty: string[] = [];
    for (const { dashboard, panel, expr } of all) {
      const { result } = await ask<{ result: unknown[] }>('/api/v1/query', { query: expr });
      if (result.length === 0) empty.push(`${dashboard}: ${panel}: ${expr}`);
    }
    return empty.length === 0 ? undefined : empty.join('\n');
  });
});
