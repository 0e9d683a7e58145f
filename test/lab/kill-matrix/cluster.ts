// SPDX-License-Identifier: Apache-2.0
import { connect, LeaderRole, MigrationState, VmState, type Lockstep, type Migration, type Vm } from '@lockstep/sdk';
import { attemptVirsh, hostNamed, processesOf, serversOf, until, type HostLayout, type Lab } from '#lab';
import { readFileSync } from 'node:fs';

const ASK_MS = 10_000;

/** The cluster as a client sees it, and its hosts as libvirt and the kernel see them. */
export class Cluster {
  readonly api: Lockstep;

  constructor(readonly lab: Lab) {
    this.api = connect({ servers: serversOf(lab), deadlineMs: ASK_MS });
  }

  close(): void {
    this.api.close();
  }

  /** The host of the leading Scheduler; undefined while nobody says who leads. */
  async leader(): Promise<HostLayout | undefined> {
    try {
      const { cluster } = await this.api.scheduler.getCluster({});
      const leader = cluster?.leaders.find(({ role }) => role === LeaderRole.SCHEDULER);
      return leader === undefined ? undefined : hostNamed(this.lab, leader.name);
    } catch {
      return undefined;
    }
  }

  /** Waits until somebody leads and every node is ready; returns the leader's host. */
  async healthy(limitMs: number): Promise<HostLayout> {
    let leader: HostLayout | undefined;
    await until('everything is healthy', limitMs, async () => {
      leader = await this.leader();
      if (leader === undefined) return 'nobody leads';
      try {
        const { nodes } = await this.api.scheduler.listNodes({});
        if (nodes.length < this.lab.hosts.length) return `${nodes.length} nodes have joined`;
        const unready = nodes.find(({ ready }) => !ready);
        return unready === undefined ? undefined : `${unready.name}: ${unready.notReadyReason}`;
      } catch (error) {
        return error instanceof Error ? error.message : String(error);
      }
    });
    if (leader === undefined) throw new Error('nobody leads');
    return leader;
  }

  /** Undefined while nobody can tell. */
  async migration(id: string): Promise<Migration | undefined> {
    return (await this.api.scheduler.getMigration({ id }).catch(() => undefined))?.migration;
  }

  async vm(id: string): Promise<Vm | undefined> {
    return (await this.api.scheduler.getVm({ vm: id }).catch(() => undefined))?.vm;
  }

  /** Each host's own word on the guest: what libvirt says of it, and how many QEMU processes there are. */
  async copies(guest: string): Promise<{ host: string; state: string; processes: number }[]> {
    return Promise.all(
      this.lab.hosts.map(async (host) => {
        const { code, stdout, stderr } = await attemptVirsh(host, ['domstate', guest]);
        const unknown = /failed to get domain|Domain not found/.test(stderr);
        const state = code === 0 ? stdout.trim() : unknown ? 'none' : `? ${stderr.trim()}`;
        return { host: host.name, state, processes: await qemusOf(host, guest) };
      }),
    );
  }
}

/** What is not as it should be where a guest runs on one host alone; undefined where all is. */
export function strayOf(copies: Awaited<ReturnType<Cluster['copies']>>, home: string): string | undefined {
  const wrong = copies.filter(({ host, state, processes }) => {
    const here = host === home;
    return state !== (here ? 'running' : 'none') || processes !== (here ? 1 : 0);
  });
  if (wrong.length === 0) return undefined;
  return wrong.map(({ host, state, processes }) => `${host}: ${state}, ${processes} processes`).join('; ');
}

async function qemusOf(host: HostLayout, guest: string): Promise<number> {
  const pids = await processesOf(host);
  return pids.filter((pid) => commandLineOf(pid).includes(`guest=${guest},`)).length;
}

function commandLineOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1');
  } catch {
    return '';
  }
}

const ENDED: readonly MigrationState[] = [MigrationState.SUCCEEDED, MigrationState.ABORTED, MigrationState.FAILED];

export const hasEnded = ({ state }: Migration): boolean => ENDED.includes(state);

export const nameOf = (state: MigrationState): string =>
  Object.entries(MigrationState).find(([, value]) => value === state)?.[0] ?? String(state);

export const isSettled = (vm: Vm | undefined): boolean =>
  vm?.placement?.migrationId === '' && vm.status?.state === VmState.RUNNING;
