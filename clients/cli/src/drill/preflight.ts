// SPDX-License-Identifier: Apache-2.0
import type { Lockstep } from '@lockstep/sdk';
import {
  DisarmMode,
  Fenceability,
  NodeJudgement,
  NodeMode,
  SelfFenceMode,
  VmDesired,
  VmRecovery,
  type Node,
  type NodeEvidence,
  type Vm,
} from '@lockstep/sdk/v1';
import { CommandError, ExitCode } from '../exit.js';
import { wordOf } from '../output/words.js';
import { allPages } from '../pages.js';
import { present } from '../present.js';
import type { DrillPlan, DrillVm, Expectation } from './timeline.js';

/** A test of the ladder asks every peer and every device, one after another. */
const LADDER_TEST_MS = 120_000;

/** What is to be killed, and how. */
interface DrillWish {
  node: string;
  command: string | undefined;
  waitBack: boolean;
}

/**
 * What a drill of this node will do. Refused where the cluster is not fit to lose it, as far as the API can tell: nothing
 * was done then.
 */
export async function planDrill(cluster: Lockstep, wish: DrillWish): Promise<DrillPlan> {
  const found = present((await cluster.scheduler.getNode({ name: wish.node })).node, 'node');
  const fencer = await cluster.fencer();
  const { nodes: evidence } = await fencer.listEvidence({});
  checkNode(found);
  await checkCluster(cluster, wish.node, evidence);
  await checkFencing(cluster, found, wish);
  const vms = await vmsOf(cluster, wish.node);
  const stranded = vms.find(({ expected, forecast }) => expected === 'runs' && forecast === '');
  if (stranded !== undefined) {
    const { name } = stranded.vm;
    throw unfit('NO_TARGET', `no other node could take ${name}`, `lockstep vm explain ${name}`);
  }
  return { ...wish, incarnation: found.incarnation, vms };
}

function checkNode({ name, ready, notReadyReason, mode }: Node): void {
  const next = `lockstep node show ${name}`;
  if (mode === NodeMode.MAINTENANCE) throw unfit('NODE_IN_MAINTENANCE', `${name} is in maintenance`, `lockstep node ready ${name}`);
  if (!ready) throw unfit('NODE_NOT_READY', `${name} is not ready: ${notReadyReason}`, next);
}

async function checkCluster(cluster: Lockstep, node: string, evidence: readonly NodeEvidence[]): Promise<void> {
  const { arming, fenceActionsOpen } = present((await cluster.scheduler.getCluster({})).cluster, 'cluster');
  if (arming !== undefined && arming.mode !== DisarmMode.UNSPECIFIED) {
    throw unfit('FENCER_DISARMED', `the Fencer is disarmed by ${arming.by}: ${arming.reason}`, 'lockstep fence arm');
  }
  if (fenceActionsOpen > 0) {
    throw unfit('FENCE_ACTION_OPEN', `${String(fenceActionsOpen)} fence actions have not ended`, 'lockstep fence list --open');
  }
  for (const { node: name, judgement, rule } of evidence) {
    if (judgement === NodeJudgement.ALIVE) continue;
    const what = name === node ? '' : ', and a drill must be the only loss';
    const message = `${name} is ${wordOf(NodeJudgement, judgement)} (${rule})${what}`;
    throw unfit(name === node ? 'NODE_NOT_ALIVE' : 'OTHER_NODE_DOWN', message, `lockstep fence evidence ${name}`);
  }
}

/** By a test of every rung, now: a wrong password is to fail here, and not once the host is dead. */
async function checkFencing(cluster: Lockstep, { name, selfFence }: Node, { command }: DrillWish): Promise<void> {
  const fencer = await cluster.fencer();
  const { fenceability, detail } = await fencer.testFencing({ node: name }, { deadlineMs: LADDER_TEST_MS });
  if (fenceability === Fenceability.FENCEABLE) return;
  // Its expiry proves a silent host off; a host that lives on is not silent.
  if (command !== undefined && selfFence?.mode === SelfFenceMode.WATCHDOG) return;
  throw unfit('NOT_FENCEABLE', `nothing would prove ${name} off: ${detail}`, `lockstep fence test ${name}`);
}

async function vmsOf(cluster: Lockstep, node: string): Promise<DrillVm[]> {
  const all = await allPages(async (page) => {
    const answer = await cluster.scheduler.listVms(page);
    return { items: answer.vms, nextPageToken: answer.nextPageToken };
  });
  const vms: DrillVm[] = [];
  for (const vm of all.filter(({ placement }) => placement?.node === node)) {
    const expected = expectationOf(vm);
    const forecast = expected === 'left alone' ? '' : (await cluster.scheduler.explainPlacement({ vm: vm.id })).node;
    vms.push({ vm, expected, forecast });
  }
  return vms;
}

function expectationOf({ desired, spec }: Vm): Expectation {
  switch (desired) {
    case VmDesired.RUNNING:
      return spec?.recovery === VmRecovery.STAY_OFF ? 'stays off' : 'runs';
    case VmDesired.STOPPED:
      return 'stays off';
    default:
      return 'left alone';
  }
}

function unfit(reason: string, message: string, next: string): CommandError {
  return new CommandError(ExitCode.PRECONDITION, reason, `${message}; nothing was done`, next);
}
