// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { attempt, hostNamed, ports, run, type HostLayout } from '../../deploy/lab/api.js';
import { INSTALL_LIMIT_MS, installSdk, type SdkProject } from '../contract/sdk-project.js';
import { removeGuests, startGuest } from './guest.js';
import { lab, meshUp, servers } from './mesh.js';

beforeAll(meshUp);
afterEach(removeGuests);

const h2 = hostNamed(lab, 'h2');
const h3 = hostNamed(lab, 'h3');
const buf = join(lab.checkout, 'node_modules/.bin/buf');

const addressOf = (host: HostLayout, service: keyof typeof ports): string => `${host.addresses.a}:${ports[service]}`;

/** The standard that load balancers and probes speak; buf has it not built in. */
const HEALTH_PROTO = `syntax = "proto3";
package grpc.health.v1;
message HealthCheckRequest { string service = 1; }
message HealthCheckResponse {
  enum ServingStatus { UNKNOWN = 0; SERVING = 1; NOT_SERVING = 2; SERVICE_UNKNOWN = 3; }
  ServingStatus status = 1;
}
service Health { rpc Check(HealthCheckRequest) returns (HealthCheckResponse); }
`;

/** Runs `buf curl` in a folder of its own: all it knows of Lockstep is an address. */
async function curl(address: string, path: string, ...options: string[]): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'lockstep-curl-'));
  try {
    writeFileSync(join(folder, 'health.proto'), HEALTH_PROTO);
    const plainText = ['--http2-prior-knowledge', '--protocol', 'grpc'];
    return await run(buf, ['curl', ...plainText, ...options, `http://${address}${path}`], { cwd: folder });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

describe('buf curl with nothing but addresses', () => {
  it.each([
    ['node-agent', 'lockstep.v1.NodeAgentService'],
    ['scheduler', 'lockstep.v1.SchedulerService'],
    ['fencer', 'lockstep.v1.FencerService'],
  ] as const)('finds the service of every %s, and that it is well', async (port, service) => {
    for (const host of lab.hosts) {
      const address = addressOf(host, port);
      expect((await curl(address, '', '--list-services')).trim().split('\n')).toEqual([service]);
      const asked = JSON.stringify({ service });
      const health = await curl(address, '/grpc.health.v1.Health/Check', '--schema', 'health.proto', '-d', asked);
      expect(JSON.parse(health)).toEqual({ status: 'SERVING' });
    }
  });

  it('moves a VM and watches it arrive, through a Scheduler that may not lead', async () => {
    const guest = await startGuest('h1');
    const scheduler = addressOf(h2, 'scheduler');
    const order = { vm: guest.name, target_node: 'h3', mode: 'MIGRATION_MODE_LIVE_ONLY' };
    const created = await curl(scheduler, '/lockstep.v1.SchedulerService/CreateMigration', '-d', JSON.stringify(order));
    const { migration } = JSON.parse(created) as { migration: { id: string } };
    const asked = JSON.stringify({ id: migration.id });
    // The watch of one migration ends with it.
    const watched = await curl(scheduler, '/lockstep.v1.SchedulerService/WatchMigrations', '-d', asked);
    expect(watched).toContain('MIGRATION_STATE_SUCCEEDED');
    await guest.runsOnlyOn('h3');
    await guest.countsOn();
  });
});

describe('the Python example', () => {
  it('lists the nodes, moves a VM, and tells why it would not move it again', async () => {
    const guest = await startGuest('h2');
    const script = join(lab.checkout, 'clients/examples/python/run.sh');
    const scheduler = addressOf(h3, 'scheduler');
    const moved = await run(script, [scheduler, guest.name, 'h1'], { timeoutMs: 120_000 });
    expect(moved.trim().split('\n')).toEqual([
      ...lab.hosts.map((host) => `${host.name} ${addressOf(host, 'node-agent')} ready`),
      expect.stringContaining(`${guest.name}: MIGRATION_STATE_SUCCEEDED`),
    ]);
    await guest.runsOnlyOn('h1');
    await guest.countsOn();
    const again = await attempt(script, [scheduler, guest.name, 'h1'], { timeoutMs: 60_000 });
    expect(again).toMatchObject({ code: 1, stderr: expect.stringContaining('FAILED_PRECONDITION') as string });
    await guest.runsOnlyOn('h1');
  });
});

describe('the packed SDK in an empty project', () => {
  let project: SdkProject;
  beforeAll(async () => {
    project = await installSdk();
  }, INSTALL_LIMIT_MS);
  afterAll(() => project.dispose());

  it('moves a VM', async () => {
    const guest = await startGuest('h3');
    expect(await project.move(servers, guest.name, 'h2')).toMatchObject({
      nodes: ['h1', 'h2', 'h3'],
      succeeded: true,
      node: 'h2',
      refusal: ['SAME_NODE', 'FAILED_PRECONDITION', `lockstep vm show ${guest.name}`],
      reflects: true,
    });
    await guest.runsOnlyOn('h2');
    await guest.countsOn();
  });
});
