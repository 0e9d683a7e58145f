// SPDX-License-Identifier: Apache-2.0
import { connect, MigrationMode, MigrationState, type Lockstep } from '@lockstep/sdk';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { createMemoryLogger } from '../../services/platform/log/memory.js';
import { createPrometheusMetrics } from '../../services/platform/metrics/prometheus.js';
import { startDevCluster, type DevCluster } from '../../services/dev/cluster.js';

const XML = `<domain type='kvm'><name>web</name><memory unit='MiB'>64</memory><vcpu>1</vcpu><os><type>hvm</type></os></domain>`;
const metrics = createPrometheusMetrics({ log: createMemoryLogger() });
let cluster: DevCluster;
let lockstep: Lockstep;

beforeAll(async () => {
  cluster = await startDevCluster({ nodes: 2, log: createMemoryLogger(), metrics });
  lockstep = connect({ servers: [cluster.scheduler] });
  await vi.waitFor(
    async () => {
      const { nodes } = await lockstep.scheduler.listNodes({});
      expect(nodes.filter(({ ready }) => ready)).toHaveLength(2);
    },
    { timeout: 30_000 },
  );
});

afterAll(async () => {
  lockstep.close();
  await cluster.close();
});

it('the leader counts a move once, with the time of its steps and of its gap', async () => {
  await lockstep.scheduler.defineVm({ spec: { domainXml: XML }, node: 'n1', start: true });
  const { migration } = await lockstep.scheduler.createMigration({ vm: 'web', targetNode: 'n2', mode: MigrationMode.LIVE_ONLY });
  const end = await lockstep.waitForMigration(migration?.id ?? '');
  expect(end.state).toBe(MigrationState.SUCCEEDED);
  const text = await metrics.text();
  expect(text).toContain('lockstep_migrations_ended_total{state="succeeded"} 1');
  expect(text).toContain('lockstep_migrations{state="succeeded"} 1');
  for (const step of ['prepare_source', 'prepare_target', 'transfer', 'commit_target', 'commit_source']) {
    expect(text).toContain(`lockstep_migration_step_seconds_count{step="${step}",ok="true"} 1`);
  }
  expect(text).toContain('lockstep_migration_downtime_seconds_count 1');
  expect(text).toContain('lockstep_nodes{heard="true"} 2');
  expect(text).toContain('lockstep_vms 1');
});
