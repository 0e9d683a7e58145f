// SPDX-License-Identifier: Apache-2.0
import { METADATA_NAMESPACE } from '../../services/core/domain-xml/epoch.js';
import { systemClock } from '../../services/platform/clock/system.js';
import {
  type CopyChange,
  createSimulatedHost,
  createSimulatedNetwork,
  type SimulatedHost,
} from '../../services/platform/hypervisor/simulated.js';
import { createSeededRandom } from '../../services/platform/random/seeded.js';
import type { Count, TestGuest, TestHost, TestRig } from './hypervisor.rig.js';

/** Two simulated hosts in real time. */
export function startSimulatedRig(): Promise<TestRig> {
  const clock = systemClock;
  const network = createSimulatedNetwork({ bytesPerSecond: 256 * 1024 * 1024 });
  const changes: CopyChange[] = [];
  network.observe((change) => changes.push(change));
  const host = (name: string): SimulatedHost =>
    createSimulatedHost({ clock, network, name, random: createSeededRandom({ seed: name, clock }) });
  const hosts = [host('source'), host('target')] as const;
  return Promise.resolve({
    source: testHost(hosts[0]),
    target: testHost(hosts[1]),
    xmlOf: (guest) => Promise.resolve(xmlOf(guest)),
    countOf: (guest) => countOf(guest, hosts, changes),
    dispose: () => Promise.resolve(),
  });
}

function testHost(host: SimulatedHost): TestHost {
  const done = (work: () => void): Promise<void> => {
    work();
    return Promise.resolve();
  };
  return {
    name: host.name,
    connect: () => host.hypervisor(),
    pause: ({ uuid }) => done(() => { host.pauseGuest(uuid); }),
    setAutostart: ({ uuid }) => done(() => { host.setAutostart(uuid); }),
    autostarts: ({ uuid }) => Promise.resolve(host.autostarts(uuid)),
    freeze: ({ uuid }) => done(() => { host.guest(uuid)?.freeze(true); }),
    thaw: ({ uuid }) => done(() => { host.guest(uuid)?.freeze(false); }),
    killDaemon: () => done(() => { host.killDaemon(); }),
    startDaemon: () => done(() => { host.startDaemon(); }),
    hangDaemon: () => done(() => { host.hangDaemon(); }),
    continueDaemon: () => done(() => { host.continueDaemon(); }),
  };
}

function xmlOf({ name, uuid, kind }: TestGuest): string {
  const rate = kind === 'dirty' ? 'dirty-rate="8MiB" working-set="4MiB" resident="5MiB"' : 'dirty-rate="64KiB"';
  return `<domain type='qemu'><name>${name}</name><uuid>${uuid}</uuid>
  <memory unit='MiB'>${kind === 'dirty' ? '20' : '16'}</memory><vcpu>1</vcpu>
  <metadata><l:vm xmlns:l="${METADATA_NAMESPACE}"><l:simulated shutdown="ignored" ${rate}/></l:vm></metadata>
  ${kind === 'writer' ? `<devices><disk type='file' device='disk'><source file='/shared/${name}.raw'/></disk></devices>` : ''}
</domain>`;
}

/** Every run must begin with the very memory that the run before it ended with, and none before that one ended. */
function countOf({ uuid }: TestGuest, hosts: readonly SimulatedHost[], changes: readonly CopyChange[]): Count {
  let runningOn: string | undefined;
  let newest = { boot: '', ranMs: 0 };
  let fault: string | undefined;
  for (const { host, running, memory, what } of changes.filter((change) => change.uuid === uuid)) {
    if (running && runningOn !== undefined && runningOn !== host) fault ??= `two copies: ${runningOn} and ${host}`;
    const other = newest.boot !== '' && (memory.boot !== newest.boot || memory.ranMs < newest.ranMs);
    if (running && other) fault ??= `other memory: ${host}, ${what}`;
    if (running || runningOn === host) newest = memory;
    if (running) runningOn = host;
    else if (runningOn === host) runningOn = undefined;
  }
  const counters = hosts.map((host) => host.guest(uuid)?.counter() ?? 0);
  return { last: Math.max(...counters), fault };
}
