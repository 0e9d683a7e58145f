// SPDX-License-Identifier: Apache-2.0
import { NodeAgentServiceDefinition } from '@lockstep/sdk/v1';
import { z } from 'zod';
import { systemClock } from '../platform/clock/system.js';
import type { Env } from '../platform/env.js';
import { createProcHost } from '../platform/host/proc.js';
import type { Hypervisor } from '../platform/hypervisor/hypervisor.js';
import { createLibvirtHypervisor } from '../platform/hypervisor/libvirt.js';
import { measuredHypervisor } from '../platform/hypervisor/measured.js';
import { createSimulatedHost, createSimulatedNetwork } from '../platform/hypervisor/simulated.js';
import { followBmcs } from '../platform/power/followed.js';
import { watchLoopDelay } from '../platform/process/loop-delay.js';
import { addressOf, commonKeys, runService } from '../platform/process/run.js';
import { systemRandom } from '../platform/random/system.js';
import { service } from '../platform/rpc/implement.js';
import { openFileState } from '../platform/state/file.js';
import { createNodeAgent } from './agent.js';

const VERSION = '0.1.0';
/** Ends with this where the host must not use its name: restarting it does not help. */
const IDENTITY_EXIT = 3;

const hypervisorSchema = z
  .strictObject({
    kind: z.enum(['libvirt', 'simulated']),
    /** libvirt's own socket; `/run/libvirt/virtqemud-sock` with modular daemons. */
    socket: z.string().min(1).default('/run/libvirt/libvirt-sock'),
    /** Where the others' QEMU reach this host's; libvirt's `migration_host` unless told. */
    migration_address: z.string().min(1).optional(),
  })
  .transform(({ kind, socket, migration_address }) => ({ kind, socket, migrationAddress: migration_address }));

const schema = z
  .strictObject({
    ...commonKeys,
    host_uuid: z.uuid().optional(),
    state_dir: z.string().min(1).default('/var/lib/lockstep/node-agent'),
    hypervisor: hypervisorSchema.prefault({ kind: 'libvirt' }),
    /** Memory that VMs never get, for the host itself. */
    memory_reserve_mib: z.int().min(0).default(0),
    labels: z.record(z.string(), z.string()).optional(),
    bmc_file: z.string().min(1).optional(),
    /** Where there is none at its place, the host has no Ceph. */
    ceph_config_file: z.string().min(1).optional(),
  })
  .transform(({ host_uuid, state_dir, memory_reserve_mib, bmc_file, ceph_config_file, ...common }) => ({
    ...common,
    hostUuid: host_uuid?.toLowerCase(),
    stateDir: state_dir,
    memoryReserveBytes: BigInt(memory_reserve_mib) * 1024n * 1024n,
    bmcFile: bmc_file,
    cephConfigFile: ceph_config_file,
  }));

type Config = z.output<typeof schema>;

function hypervisorOf({ metrics }: Env, config: Config): Hypervisor {
  const hypervisor = bareHypervisorOf(config);
  return metrics === undefined ? hypervisor : measuredHypervisor(hypervisor, metrics, systemClock);
}

function bareHypervisorOf({ node, hypervisor: { kind, socket, migrationAddress } }: Config): Hypervisor {
  if (kind === 'simulated') {
    const network = createSimulatedNetwork();
    return createSimulatedHost({ clock: systemClock, random: systemRandom, network, name: node }).hypervisor();
  }
  return createLibvirtHypervisor({
    clock: systemClock,
    socketPath: socket,
    uri: 'qemu:///system',
    migrateUri: migrationAddress === undefined ? undefined : `tcp://${migrationAddress}`,
  });
}

await runService({
  name: 'node-agent',
  schema,
  build: async (env, config, log) => {
    const loopDelay = watchLoopDelay();
    const closing = new AbortController();
    const following = { clock: systemClock, log: log.child('bmc'), signal: closing.signal };
    const agent = await createNodeAgent(
      {
        ...env,
        hypervisor: hypervisorOf(env, config),
        host: createProcHost({ clock: systemClock, cephConfigFile: config.cephConfigFile }),
        state: await openFileState({ folder: config.stateDir }),
        bmcs: await followBmcs(config.bmcFile, following),
        loopDelayMs: () => loopDelay.worstMs(),
      },
      {
        node: config.node,
        address: addressOf(config),
        hostUuid: config.hostUuid,
        version: VERSION,
        labels: config.labels,
        memoryReserveBytes: config.memoryReserveBytes,
      },
      {
        onFatal: (error) => {
          process.stderr.write(`${error.message}\n`);
          process.exit(IDENTITY_EXIT);
        },
        setDebug: (enabled) => {
          log.setDebug(enabled);
        },
      },
    );
    return {
      services: [service(NodeAgentServiceDefinition, agent.service)],
      start: () => {
        agent.start();
      },
      notReady: () => agent.notReady(),
      notLive: () => agent.notLive(),
      close: () => {
        closing.abort();
        return agent.stop();
      },
    };
  },
});
