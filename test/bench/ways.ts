// SPDX-License-Identifier: Apache-2.0
// The two ways to move a guest: the mesh, and virsh by itself.
import {
  MigrationMode,
  MigrationState,
  MigrationStep,
  VmState,
  type Duration,
  type Lockstep,
  type Migration,
} from '@lockstep/sdk';
import { connect } from '@lockstep/node-libvirt';
import { libvirtUri, virsh, type HostLayout } from '#lab';

const MOVE_LIMIT_MS = 180_000;
const STOP_LIMIT_MS = 60_000;
const MIB = 1024n * 1024n;

export interface GuestToMove {
  name: string;
  xml: string;
  /** The same for both ways; undefined: as fast as it goes. */
  bandwidthMibPerSecond: number | undefined;
}

/** What only the mesh tells. */
export interface MeshFigures {
  gapMs: number;
  /** Each step's duration, in their order. */
  steps: { step: string; ms: number }[];
}

export interface Way {
  begin(guest: GuestToMove, on: HostLayout): Promise<void>;
  move(guest: GuestToMove, from: HostLayout, to: HostLayout): Promise<void>;
  end(guest: GuestToMove, on: HostLayout): Promise<void>;
}

/** virsh with both daemons' sockets: it drives libvirt's phases itself, as the agents and the Scheduler do. */
export class Virsh implements Way {
  async begin({ xml }: GuestToMove, on: HostLayout): Promise<void> {
    const connection = await connect({ socketPath: on.libvirtSocket });
    try {
      await connection.domains.start(await connection.domains.defineXml(xml));
    } finally {
      await connection.close();
    }
  }

  async move({ name, bandwidthMibPerSecond }: GuestToMove, from: HostLayout, to: HostLayout): Promise<void> {
    const bandwidth = bandwidthMibPerSecond === undefined ? [] : ['--bandwidth', String(bandwidthMibPerSecond)];
    const flags = ['--live', '--persistent', '--undefinesource', '--auto-converge', ...bandwidth];
    await virsh(from, ['migrate', ...flags, name, libvirtUri(to)], MOVE_LIMIT_MS);
  }

  async end({ name }: GuestToMove, on: HostLayout): Promise<void> {
    await virsh(on, ['destroy', name]);
    await virsh(on, ['undefine', name]);
  }
}

export class Mesh implements Way {
  /** One entry for each move. */
  readonly figures: MeshFigures[] = [];

  constructor(private readonly lockstep: Lockstep) {}

  async begin({ name, xml }: GuestToMove, on: HostLayout): Promise<void> {
    await this.lockstep.scheduler.defineVm({ spec: { domainXml: xml }, node: on.name, start: true });
    await this.lockstep.waitForVm(name, [VmState.RUNNING], { patienceMs: STOP_LIMIT_MS });
  }

  async move({ name, bandwidthMibPerSecond }: GuestToMove, _from: HostLayout, to: HostLayout): Promise<void> {
    const { migration } = await this.lockstep.scheduler.createMigration({
      vm: name,
      targetNode: to.name,
      mode: MigrationMode.LIVE_ONLY,
      bandwidthLimitBytesPerSecond: BigInt(bandwidthMibPerSecond ?? 0) * MIB,
    });
    if (migration === undefined) throw new Error('the Scheduler answered without a migration');
    const ended = await this.lockstep.waitForMigration(migration.id);
    if (ended.state !== MigrationState.SUCCEEDED) throw new Error(`the migration ended otherwise: ${ended.detail}`);
    this.figures.push({ gapMs: millisecondsOf(ended.outcome?.gap), steps: stepsOf(ended) });
  }

  async end({ name }: GuestToMove): Promise<void> {
    await this.lockstep.scheduler.stopVm({ vm: name, force: true });
    await this.lockstep.waitForVm(name, [VmState.STOPPED], { patienceMs: STOP_LIMIT_MS });
    await this.lockstep.scheduler.undefineVm({ vm: name });
  }
}

function stepsOf({ phases }: Migration): MeshFigures['steps'] {
  return phases.map(({ step, duration }) => ({
    step: Object.entries(MigrationStep).find(([, value]) => value === step)?.[0] ?? String(step),
    ms: millisecondsOf(duration),
  }));
}

function millisecondsOf(duration: Duration | undefined): number {
  if (duration === undefined) throw new Error('the migration tells no duration where it should');
  return Number(duration.seconds) * 1000 + duration.nanos / 1e6;
}
