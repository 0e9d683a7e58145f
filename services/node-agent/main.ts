// SPDX-License-Identifier: Apache-2.0
import { NodeAgentServiceDefinition } from '@lockstep/sdk/v1';
import { z } from 'zod';
import { systemClock } from '../platform/clock/system.js';
import type { Env } from '../platform/env.js';
import { createProcHost } from '../platform/host/proc.js';
import { createSystemdShutdown } from '../platform/host/shutdown.js';
import type { Hypervisor } from '../platform/hypervisor/hypervisor.js';
import { createLibvirtHypervisor } from '../platform/hypervisor/libvirt.js';
import { measuredHypervisor } from '../platform/hypervisor/measured.js';
import { createSimulatedHost, createSimulatedNetwork } from '../platform/hypervisor/simulated.js';
import { followBmcs } from '../platform/power/followed.js';
import { addressSchema } from '../platform/config/schemas.js';
import { watchLoopDelay } from '../platform/process/loop-delay.js';
import { addressOf, commonKeys, runService } from '../platform/process/run.js';
import { systemRandom } from '../platform/random/system.js';
import { service } from '../platform/rpc/implement.js';
import { createWatchdogDevice } from '../platform/watchdog/device.js';
import { openFileState } from '../platform/state/file.js';
import { createNodeAgent } from './agent.js';
import { SELF_FENCE } from './fencing/self-fence.js';

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

const selfFenceSchema = z
  .strictObject({
    /**
     * `none`: its VMs run on; a host whose BMC is dead is not recovered without a person. `stop-vms`: it stops them, which
     * proves nothing. `watchdog`: it is reset, and that is a proof.
     */
    mode: z.enum(['none', 'stop-vms', 'watchdog']).default(SELF_FENCE.mode),
    /** Seconds after the last renewal of the lease; more than the 12 after which it counts as lost. */
    after_seconds: z.number().min(1).max(3_600).default(SELF_FENCE.afterMs / 1_000),
    /** Seconds that the watchdog takes once it is fed no more: at least what the device is set to. */
    watchdog_seconds: z.number().min(1).max(600).default(SELF_FENCE.watchdogMs / 1_000),
    device: z.string().min(1).default('/dev/watchdog'),
  })
  .transform(({ mode, after_seconds, watchdog_seconds, device }) => ({
    device,
    mode,
    afterMs: after_seconds * 1_000,
    watchdogMs: watchdog_seconds * 1_000,
  }));

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
    /** Whom the agent speaks as with Ceph, whose key the configuration file tells; `admin` unless told. */
    ceph_user: z.string().regex(/^[\w.-]+$/).optional(),
    /** The network that its address belongs to: the same name on all hosts. */
    address_network: z.string().min(1).max(63).optional(),
    /** Where else it listens, for peers that look for its signs of life over a network of its own. */
    further_addresses: z
      .array(z.strictObject({ network: z.string().min(1).max(63), address: addressSchema }))
      .max(8)
      .default([]),
    self_fence: selfFenceSchema.prefault({}),
  })
  .transform(({ host_uuid, state_dir, memory_reserve_mib, bmc_file, ceph_config_file, ceph_user, address_network, further_addresses, self_fence, ...common }) => ({
    ...common,
    hostUuid: host_uuid?.toLowerCase(),
    stateDir: state_dir,
    memoryReserveBytes: BigInt(memory_reserve_mib) * 1024n * 1024n,
    bmcFile: bmc_file,
    cephConfigFile: ceph_config_file,
    cephUser: ceph_user,
    addressNetwork: address_network,
    furtherAddresses: further_addresses,
    selfFence: self_fence,
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
        host: createProcHost({ clock: systemClock, cephConfigFile: config.cephConfigFile, cephUser: config.cephUser }),
        state: await openFileState({ folder: config.stateDir }),
        shutdown: createSystemdShutdown(),
        bmcs: await followBmcs(config.bmcFile, following),
        watchdog: config.selfFence.mode === 'watchdog' ? createWatchdogDevice(config.selfFence.device) : undefined,
        loopDelayMs: () => loopDelay.worstMs(),
      },
      {
        node: config.node,
        address: addressOf(config),
        addressNetwork: config.addressNetwork,
        furtherAddresses: config.furtherAddresses,
        selfFence: config.selfFence,
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
      alsoListen: config.furtherAddresses.map(({ address }) => address),
      start: () => {
        agent.start();
      },
      notReady: () => agent.notReady(),
      notLive: () => agent.notLive(),
      leave: () => agent.leave(),
      close: () => {
        closing.abort();
        return agent.stop();
      },
    };
  },
});
