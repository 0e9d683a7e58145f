// SPDX-License-Identifier: Apache-2.0
// A host that dies, as the matrix, the shows and the benchmark let it die, and how it comes back.
import { randomBytes, randomUUID } from 'node:crypto';
import { statSync } from 'node:fs';
import { FenceActionState, LeaderRole, NodeJudgement, VmState, type FenceAction, type NodeEvidence, type VmSpec } from '@lockstep/sdk';
import {
  awaitPart,
  chassisPower,
  closeDisk,
  consulLeader,
  crashHost,
  ensureImage,
  guestXml,
  hostNamed,
  isBooted,
  isGone,
  isPoweredOn,
  killPart,
  lockedDisk,
  partNamed,
  plug,
  processesOf,
  run,
  serialFile,
  setBmcMode,
  signalPart,
  startHost,
  startPart,
  until,
  useFencerTimes,
  type BmcMode,
  type FencerTimes,
  type HostLayout,
} from '#lab';
import type { Cluster } from '../kill-matrix/cluster.js';
import { restartedFor, type Death } from './cells.js';

const HEALTHY_LIMIT_MS = 180_000;
const START_LIMIT_MS = 90_000;
const SETTLE_LIMIT_MS = 300_000;
const OPEN_STATES: readonly FenceActionState[] = [
  FenceActionState.REQUESTED,
  FenceActionState.HELD,
  FenceActionState.RUNNING,
  FenceActionState.UNCERTAIN,
];

/** As many throws as everywhere, one after another sooner: many hosts have to be waited for. */
export const SHORT_TIMES: FencerTimes = { throwSeconds: 3, deviceCallSeconds: 20, readBackSeconds: 30 };

/** Lets the Fencers of a lab that is up take these times; undefined: a cluster's own. */
export async function useTimes(cluster: Cluster, times: FencerTimes | undefined): Promise<void> {
  useFencerTimes(cluster.lab, times);
  await Promise.all(cluster.lab.hosts.map((host) => restart(cluster, host, 'fencer')));
  await healthy(cluster);
}

export interface Guest {
  id: string;
  name: string;
}

export const isOpen = ({ state }: FenceAction): boolean => OPEN_STATES.includes(state);

export interface Leaders {
  consul: string | undefined;
  scheduler: string | undefined;
  fencer: string | undefined;
}

export async function leadersOf({ api, lab }: Cluster): Promise<Leaders> {
  const { cluster } = await api.scheduler.getCluster({});
  const of = (wanted: LeaderRole): string | undefined => cluster?.leaders.find(({ role }) => role === wanted)?.name;
  const consul = await consulLeader(lab);
  return { consul: consul?.name, scheduler: of(LeaderRole.SCHEDULER), fencer: of(LeaderRole.FENCER) };
}

/** Which of them are on the host. */
export function rolesOn(leaders: Leaders, name: string): string[] {
  return Object.entries(leaders).flatMap(([role, leader]) => (leader === name ? [role] : []));
}

/** The host that leads least: the Fencer and the Scheduler stay out of what is tried, where they can. */
export async function chooseVictim(cluster: Cluster): Promise<{ victim: HostLayout; leads: string[] }> {
  const leaders = await leadersOf(cluster);
  const weigh = (name: string): number => rolesOn(leaders, name).reduce((sum, role) => sum + (role === 'consul' ? 1 : 2), 0);
  const [victim] = [...cluster.lab.hosts].sort((a, b) => weigh(a.name) - weigh(b.name));
  if (victim === undefined) throw new Error('there are no hosts');
  return { victim, leads: rolesOn(leaders, victim.name) };
}

/** Starts a guest that counts on a disk that only one QEMU at a time may write to. */
export async function startGuest({ api, lab }: Cluster, on: HostLayout, spec: Omit<Partial<VmSpec>, 'domainXml'> = {}): Promise<Guest> {
  const name = `fence-${randomBytes(3).toString('hex')}`;
  const guest = { id: randomUUID(), name };
  const kind = { kind: 'generation', disk: lockedDisk(lab, name) } as const;
  await ensureImage(lab, kind);
  const domainXml = guestXml(lab, { ...kind, name, uuid: guest.id });
  await until(`${name} is defined`, START_LIMIT_MS, () => api.scheduler.defineVm({ spec: { ...spec, domainXml }, node: on.name, start: true }).then(() => undefined, String));
  await api.waitForVm(guest.id, [VmState.RUNNING], { patienceMs: START_LIMIT_MS });
  await until(`${name} counts`, START_LIMIT_MS, () => Promise.resolve(printed(on, name) > 30 ? undefined : 'it does not'));
  return guest;
}

export async function removeGuest({ api, lab }: Cluster, { id, name }: Guest): Promise<void> {
  await until(`${name} is gone`, START_LIMIT_MS, async () => {
    try {
      await api.scheduler.stopVm({ vm: id, force: true });
      await api.waitForVm(id, [VmState.STOPPED], { patienceMs: 20_000 });
      await api.scheduler.undefineVm({ vm: id });
      return undefined;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  });
  await closeDisk(lab, { name });
}

/** Bytes that the guest printed on this host. */
export function printed(host: HostLayout, guest: string): number {
  return statSync(serialFile(host, guest), { throwIfNoEntry: false })?.size ?? 0;
}

/** Which hosts the guest printed on, beside this one. */
export function printedElsewhere({ lab }: Cluster, victim: HostLayout, guest: string): string[] {
  return lab.hosts.filter((host) => host !== victim && printed(host, guest) > 0).map(({ name }) => name);
}

/** Puts the mode on, with whatever the services must know of it before the host dies. */
export async function prepareMode(cluster: Cluster, victim: HostLayout, mode: BmcMode): Promise<void> {
  const { lab } = cluster;
  if (mode === 'already-off') return;
  await setBmcMode(lab, victim, mode);
  const restarted = restartedFor(mode);
  if (restarted === undefined) return;
  for (const host of restarted.everywhere ? lab.hosts : [victim]) await restart(cluster, host, restarted.part);
  await healthy(cluster);
}

export async function restart({ lab }: Cluster, host: HostLayout, part: string): Promise<void> {
  await killPart(host, part);
  await startPart(lab, host, partNamed(part));
  await awaitPart(lab, host, partNamed(part));
}

/** Lets the host die. Returns its processes as they were, and when it was, in milliseconds since 1970. */
export async function kill({ lab }: Cluster, victim: HostLayout, death: Death, mode: BmcMode): Promise<{ pids: number[]; atMs: number }> {
  const pids = await processesOf(victim);
  const atMs = Date.now();
  if (death === 'crash') await crashHost(victim);
  if (death === 'cut') await Promise.all([plug(victim, 'a', false), plug(victim, 'b', false)]);
  if (death === 'hang') signalPart(victim, 'node-agent', 'SIGSTOP');
  if (mode === 'already-off') await setBmcMode(lab, victim, mode);
  return { pids, atMs };
}

export const processes = processesOf;

/** The process numbers of those of `pids` that are a QEMU of this guest and alive. */
export async function guestProcesses(pids: readonly number[], guest: string): Promise<number[]> {
  const listed = await run('ps', ['-e', '-o', 'pid=,stat=,args=']);
  return listed
    .split('\n')
    .filter((line) => line.includes(`guest=${guest},`))
    .map((line) => Number(/^\s*(\d+)\s+[^Z\s]/.exec(line)?.[1]))
    .filter((pid) => pids.includes(pid));
}

export const isAlive = (pid: number): boolean => !isGone(pid);

/** All is as it should be: leaders, nodes ready and alive, no action open. */
export async function healthy(cluster: Cluster): Promise<void> {
  await cluster.healthy(HEALTHY_LIMIT_MS);
  await until('every node is alive', HEALTHY_LIMIT_MS, async () => {
    try {
      const fencer = await cluster.api.fencer();
      const { nodes } = await fencer.listEvidence({});
      const other = nodes.find(({ judgement }) => judgement !== NodeJudgement.ALIVE);
      if (nodes.length < cluster.lab.hosts.length || other !== undefined) return `${other?.node ?? 'some'}: ${other?.rule ?? 'not known'}`;
      const open = (await actions(cluster)).find(isOpen);
      return open === undefined ? undefined : `${open.node}: ${open.detail}`;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  });
}

/** All actions, newest first. */
export async function actions({ api }: Cluster): Promise<FenceAction[]> {
  const fencer = await api.fencer();
  return (await fencer.listFenceActions({})).fenceActions;
}

/** The newest action on the node that was asked for since then; undefined while nobody tells of one. */
export async function actionSince(cluster: Cluster, victim: HostLayout, sinceMs: number): Promise<FenceAction | undefined> {
  const all = await actions(cluster).catch(() => []);
  return all.find(({ node, createTime }) => node === victim.name && (createTime?.getTime() ?? 0) >= sinceMs);
}

/** Fails where anybody was to be fenced since then. */
export async function noneSince(cluster: Cluster, sinceMs: number): Promise<void> {
  const begun = (await actions(cluster)).filter(({ createTime }) => (createTime?.getTime() ?? 0) >= sinceMs);
  if (begun.length > 0) throw new Error(`fenced: ${begun.map(({ node, detail }) => `${node} (${detail})`).join(', ')}`);
}

/** What the leading Fencer knows of the node; undefined while nobody tells. */
export async function evidenceOf({ api }: Cluster, victim: HostLayout): Promise<NodeEvidence | undefined> {
  try {
    const fencer = await api.fencer();
    return (await fencer.listEvidence({})).nodes.find(({ node }) => node === victim.name);
  } catch {
    return undefined;
  }
}

/** The agent that hung goes on, and its BMC works again. */
export async function goOn(cluster: Cluster, victim: HostLayout): Promise<void> {
  signalPart(victim, 'node-agent', 'SIGCONT');
  await setBmcMode(cluster.lab, victim, 'up');
  await healthy(cluster);
}

/** Everything works again; what waited ends, and the host comes back. */
export async function mend(cluster: Cluster, victim: HostLayout, guest: Guest | undefined): Promise<void> {
  const { lab, api } = cluster;
  // It stays down until its action has ended: then the guest runs elsewhere, or nothing ever asked for that.
  await crashHost(victim);
  await Promise.all([plug(victim, 'a', true), plug(victim, 'b', true)]);
  await setBmcMode(lab, victim, 'up');
  if (guest !== undefined) {
    await until(`${guest.name} runs elsewhere`, SETTLE_LIMIT_MS, async () => {
      try {
        await acknowledge(cluster, victim);
        const { vm } = await api.scheduler.getVm({ vm: guest.id });
        const node = vm?.placement?.node ?? '';
        if (vm?.status?.state === VmState.RUNNING && node !== victim.name) return undefined;
        return `on ${node}: ${vm?.status?.detail ?? '?'}`;
      } catch (error) {
        return error instanceof Error ? error.message : String(error);
      }
    });
  }
  await comeBack(cluster, victim);
}

/** Tells the Fencer what is so: it would find out itself, after a pause that grows with every try in vain. */
async function acknowledge(cluster: Cluster, { name }: HostLayout): Promise<void> {
  const waiting = (await actions(cluster)).find(({ node, state }) => node === name && state === FenceActionState.UNCERTAIN);
  if (waiting === undefined) return;
  const fencer = await cluster.api.fencer();
  await fencer.acknowledgeDead({ node: name, confirmNode: name, reason: 'the lab has ended every process of it' });
}

/** Boots the host, whatever became of it, and waits until the cluster is whole again. */
export async function comeBack(cluster: Cluster, victim: HostLayout): Promise<void> {
  if (!isPoweredOn(victim)) {
    await chassisPower(victim, 'on');
    await until(`${victim.name} boots`, START_LIMIT_MS, () => Promise.resolve(isBooted(victim) ? undefined : 'not yet'));
  }
  await startHost(cluster.lab, hostNamed(cluster.lab, victim.name));
  await healthy(cluster);
}
