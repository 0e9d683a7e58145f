// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import {
  FencerServiceDefinition,
  NodeAgentServiceDefinition,
  SchedulerServiceDefinition,
} from '@lockstep/sdk/v1';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LockstepError } from '../../services/core/errors/catalogue.js';
import { createMemoryLogger } from '../../services/platform/log/memory.js';
import { implement, type RpcServer, serve, service } from '../../services/platform/rpc/server.js';

/** A tool that knows nothing of Lockstep but an address must be able to find and use everything. */
const buf = fileURLToPath(new URL('../../node_modules/.bin/buf', import.meta.url));
let server: RpcServer;

beforeAll(async () => {
  const scheduler = implement(SchedulerServiceDefinition, {
    listNodes: () => Promise.resolve({ nodes: [{ name: 'h1' }, { name: 'h2' }] }),
    createMigration: ({ vm, targetNode }) => Promise.resolve({ migration: { id: 'm1', vmName: vm, targetNode, placementEpoch: 7n } }),
    getVm: ({ vm }) => Promise.reject(new LockstepError('VM_NOT_FOUND', `no VM ${vm}`, { vm })),
    async *watchMigrations() {
      for (const resumeToken of ['1', '2']) yield await Promise.resolve({ resumeToken });
    },
  });
  server = await serve({
    listen: '127.0.0.1:0',
    log: createMemoryLogger(),
    services: [
      service(SchedulerServiceDefinition, scheduler),
      service(NodeAgentServiceDefinition, implement(NodeAgentServiceDefinition, {})),
      service(FencerServiceDefinition, implement(FencerServiceDefinition, {})),
    ],
  });
});
afterAll(() => server.close(0));

/** Runs `buf curl` from the file system's root, where no file of the project is near; its output and exit code. */
async function curl(path: string, ...options: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const args = ['curl', '--http2-prior-knowledge', '--protocol', 'grpc', ...options, `http://${server.address}${path}`];
  try {
    return { code: 0, ...(await promisify(execFile)(buf, args, { cwd: '/', timeout: 30_000 })) };
  } catch (error) {
    if (typeof error !== 'object' || error === null || !('stdout' in error)) throw error;
    return { code: 1, stdout: String(error.stdout), stderr: String(Reflect.get(error, 'stderr')) };
  }
}

describe('buf curl through reflection', () => {
  it('lists the three services and their methods', async () => {
    expect((await curl('', '--list-services')).stdout.trim().split('\n')).toEqual([
      'lockstep.v1.FencerService',
      'lockstep.v1.NodeAgentService',
      'lockstep.v1.SchedulerService',
    ]);
    const methods = (await curl('', '--list-methods')).stdout;
    for (const { fullName, methods: own } of [SchedulerServiceDefinition, NodeAgentServiceDefinition, FencerServiceDefinition]) {
      for (const { name } of Object.values<{ name: string }>(own)) expect(methods).toContain(`${fullName}/${name}\n`);
    }
  });

  it.each(['grpc-v1', 'grpc-v1alpha'])('works over %s', async (protocol) => {
    const { stdout } = await curl('/lockstep.v1.SchedulerService/ListNodes', '--reflect-protocol', protocol);
    expect(JSON.parse(stdout)).toEqual({ nodes: [{ name: 'h1' }, { name: 'h2' }] });
  });

  it('moves a VM and watches', async () => {
    const request = JSON.stringify({ vm: 'counter', target_node: 'h2', mode: 'MIGRATION_MODE_LIVE_ONLY' });
    const created = await curl('/lockstep.v1.SchedulerService/CreateMigration', '-d', request);
    expect(JSON.parse(created.stdout)).toEqual({
      migration: { id: 'm1', vmName: 'counter', targetNode: 'h2', placementEpoch: '7' },
    });
    const watched = await curl('/lockstep.v1.SchedulerService/WatchMigrations');
    expect(watched.stdout.match(/resumeToken/g)).toHaveLength(2);
  });

  it('shows an error with its reason', async () => {
    const { code, stderr } = await curl('/lockstep.v1.SchedulerService/GetVm', '-d', '{"vm": "counter"}');
    expect(code).not.toBe(0);
    expect(stderr).toContain('"not_found"');
    expect(stderr).toContain('no VM counter');
    expect(stderr).toContain('google.rpc.ErrorInfo');
  });

  it('refuses an unknown field before it is sent', async () => {
    const { stderr } = await curl('/lockstep.v1.SchedulerService/GetVm', '-d', '{"name": "counter"}');
    expect(stderr).toMatch(/unknown field/);
  });
});
