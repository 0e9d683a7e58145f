// SPDX-License-Identifier: Apache-2.0
import { MigrationState, VmDesired, type Vm } from '@lockstep/sdk/v1';
import type { Domain, Hypervisor } from '@lockstep/services/platform/hypervisor/hypervisor.js';
import type { Cluster } from './cluster.js';
import type { AgentProcess } from './machine.js';
import { nameOfState } from './record-checker.js';

const CALL = { deadlineMs: 5_000 };

/** What keeps a cluster from being at rest: INV-2 and INV-5, looked at from outside. */
export class RestChecker {
  readonly #views: { agent: AgentProcess; hypervisor: Hypervisor }[];

  constructor(private readonly cluster: Cluster) {
    this.#views = cluster.agents.map((agent) => ({ agent, hypervisor: agent.host.hypervisor() }));
  }

  /** Sentences about what is not yet as it shall be; none: the cluster is at rest. */
  async unrest(): Promise<string[]> {
    const off = this.#views.filter(({ agent }) => !agent.powered).map(({ agent }) => `${agent.name} is off`);
    if (off.length > 0) return off;
    const listed = await Promise.all(
      this.#views.map(async ({ agent, hypervisor }) => ({ agent, domains: await hypervisor.list(CALL).catch(() => undefined) })),
    );
    return [
      ...this.#migrations(),
      ...[...this.cluster.records.vms.values()].flatMap((vm) => this.#vm(vm)),
      ...listed.flatMap(({ agent, domains }) => [
        ...(domains?.flatMap((domain) => this.#domain(agent, domain)) ?? [`the hypervisor of ${agent.name} does not answer`]),
        ...this.#notes(agent),
      ]),
    ];
  }

  #migrations(): string[] {
    return this.cluster.records.open().map(({ id, state, reason, detail, waitingReason }) => {
      const why = state === MigrationState.PENDING ? waitingReason : `${reason} ${detail}`;
      return `migration ${id.slice(-6)} is ${nameOfState(state)}: ${why}`;
    });
  }

  /** INV-2 holds where there is room: a node that cannot start a VM for want of memory says so, and tries as often as the VM's policy wants. */
  #hasRoom(node: string, memoryBytes: bigint): boolean {
    const host = this.cluster.agents.find(({ name }) => name === node)?.host;
    if (host === undefined) return false;
    const takenBytes = host.guests().reduce((sum, guest) => sum + guest.memoryBytes, 0);
    return BigInt(takenBytes) + memoryBytes <= host.info.memoryBytes;
  }

  #vm({ id, name, desired, placement, spec, trouble }: Vm): string[] {
    const on = this.cluster.guests.runningOn(id);
    const unrest: string[] = [];
    if (placement === undefined) return [`${name} has no placement`];
    if (placement.migrationId !== '') unrest.push(`${name} is locked by migration ${placement.migrationId.slice(-6)}`);
    const waitsForRoom = on.length === 0 && !this.#hasRoom(placement.node, spec?.memoryBytes ?? 0n);
    // Its owner let it be tried only so often; that it is given up for is on record, until somebody starts it.
    const isGivenUp = on.length === 0 && trouble?.givenUp === true && trouble.detail !== '';
    if (desired === VmDesired.RUNNING && !isGivenUp && on.join() !== placement.node && !waitsForRoom) {
      unrest.push(`${name} shall run on ${placement.node} and runs on ${on.length === 0 ? 'no host' : on.join()}`);
    }
    if (desired === VmDesired.STOPPED && on.length > 0) unrest.push(`${name} shall be stopped and runs on ${on.join()}`);
    return unrest;
  }

  #domain({ name: host }: AgentProcess, { uuid, name, state, placementEpoch }: Domain): string[] {
    const vm = this.cluster.records.vms.get(uuid);
    const kind = state.state === 'paused' ? `paused (${state.reason})` : state.state;
    if (vm === undefined) return [`${host} has a left-over ${name} (${kind}) of a VM that does not exist any more`];
    if (vm.placement?.node !== host) return [`${host} has a left-over ${name} (${kind}), which is placed on ${vm.placement?.node ?? 'no node'}`];
    if (placementEpoch !== vm.placement.epoch) {
      return [`${name} on ${host} has epoch ${String(placementEpoch)}, its record ${String(vm.placement.epoch)}`];
    }
    return state.state === 'paused' ? [`${name} on ${host} is ${kind}`] : [];
  }

  #notes({ name, disk }: AgentProcess): string[] {
    return Object.entries(disk.remembered?.vms ?? {}).flatMap(([vmId, { outgoing, armed }]) => [
      ...(outgoing === undefined ? [] : [`${name} has an open note as source of ${vmId.slice(0, 8)}`]),
      ...(armed?.closed === false ? [`${name} has an open note as target of ${vmId.slice(0, 8)}`] : []),
    ]);
  }
}
