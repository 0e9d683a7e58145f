// SPDX-License-Identifier: Apache-2.0
import { Fenceability, LeaderRole, SelfFenceMode, type FenceAttempt } from '@lockstep/sdk/v1';
import { milliseconds } from '../../core/duration.js';
import { MAY_SWITCH } from '../../core/fencing/bmc-check.js';
import { ATTEMPTS } from '../../core/fencing/ladder.js';
import { proofByExpiryMs } from '../../core/fencing/self-fence.js';
import type { NodeView } from '../../membership/node-streams.js';
import { heardEpochOf } from '../../membership/overtaken.js';
import { isBmc, type PowerDevice } from '../../platform/power/power.js';
import { tryNow } from '../actions/attempts.js';
import { ladderOf, type FencerLeading } from '../leading.js';
import { peersOf, wordsOf } from '../sight/looks.js';
import { nameOf, readOwnPower } from '../sight/power-reads.js';

/** Any replica may lead when a node dies, so that its device must answer more than one of them. */
const PEERS_ASKED = 3;
const PEER_LIMIT_MS = 30_000;
const PROBE_LIMIT_MS = 3_000;

/** What was tried of a ladder. In a test, `proven` says that it works. */
export interface Tested {
  attempts: FenceAttempt[];
  /** What does not work, and why; empty: every rung works. */
  failure: string;
}

/** An attempt, and whether the ladder fails by it: a peer that could not be asked says nothing about the device. */
interface Checked {
  attempt: FenceAttempt;
  fails: boolean;
}

/** Tries every rung of a node's ladder from here and from its peers. Reads only, and changes nothing. */
export async function checkLadder(leading: FencerLeading, node: string): Promise<Tested> {
  const [here, peers] = await Promise.all([fromHere(leading, node), fromPeers(leading, node)]);
  const all = [...here, ...peers];
  const failed = all.filter(({ fails }) => fails).map(({ attempt }) => failureOf(attempt));
  const isProvable = all.some(({ attempt }) => attempt.proven && attempt.rung !== ATTEMPTS.stopVms);
  if (!isProvable) failed.unshift('nothing could prove it off without a person');
  return { attempts: all.map(({ attempt }) => attempt), failure: failed.join('; ') };
}

export function failureOf({ rung, observer, detail }: FenceAttempt): string {
  return `${rung}${observer === '' ? '' : ` from ${observer}`}: ${detail}`;
}

/** One after another, as on the ladder. Of the node that this Fencer runs on it is another one that would fence. */
async function fromHere(leading: FencerLeading, node: string): Promise<Checked[]> {
  const view = leading.streams.node(node);
  if (view === undefined) return [];
  const checked: Checked[] = [];
  const check = async (rung: string, device: string, work: () => Promise<string> | string): Promise<void> => {
    const attempt = await attempted(leading, { rung, device }, work);
    checked.push({ attempt, fails: !attempt.proven });
  };
  for (const rung of ladderOf(leading, node).rungs) {
    switch (rung) {
      case 'stop-vms':
        await check(ATTEMPTS.stopVms, '', () => agentAnswers(leading, view));
        break;
      case 'watchdog':
        if (view.record.selfFence?.mode === SelfFenceMode.WATCHDOG) await check(ATTEMPTS.watchdog, '', () => armed(view));
        break;
      case 'power':
        if (node === leading.name) break;
        for (const device of leading.env.bmcs.devices(node)) {
          await check(ATTEMPTS.readPower, nameOf(device), () => reads(leading, view, device));
        }
    }
  }
  return checked;
}

/** All at once: each asks the node's BMC with its own file of devices. */
async function fromPeers(leading: FencerLeading, node: string): Promise<Checked[]> {
  const { env, streams } = leading;
  if (env.bmcs.of(node) === undefined || !ladderOf(leading, node).rungs.includes('power')) return [];
  const peers = peersOf(node, streams.nodes(), PEERS_ASKED + 1, env.clock.nowMs())
    .filter(({ name }) => name !== leading.name || node === leading.name)
    .slice(0, PEERS_ASKED);
  return await Promise.all(peers.map((peer) => fromPeer(leading, peer, node)));
}

async function fromPeer(leading: FencerLeading, peer: NodeView, node: string): Promise<Checked> {
  const { env, term } = leading;
  const { address, incarnation } = peer.record;
  const header = { leaderRole: LeaderRole.FENCER, leaderEpoch: term.leaderEpoch, incarnation };
  let fails = false;
  const attempt = await attempted(leading, { rung: ATTEMPTS.checkBmc, device: '', observer: peer.name }, async () => {
    const call = { deadlineMs: PEER_LIMIT_MS, signal: term.ended };
    const { fenceability, detail } = await env.peers.agent(address).checkBmc({ header, node }, call);
    fails = fenceability === Fenceability.NOT_FENCEABLE;
    if (fenceability !== Fenceability.FENCEABLE) throw new Error(detail);
    return detail;
  });
  return { attempt, fails };
}

async function agentAnswers({ env, term }: FencerLeading, { record }: NodeView): Promise<string> {
  const call = { deadlineMs: PROBE_LIMIT_MS, signal: term.ended };
  await env.peers.agent(record.address).probe({ address: '' }, call);
  return 'its agent answers';
}

async function reads(leading: FencerLeading, { name, record }: NodeView, device: PowerDevice): Promise<string> {
  const call = { deadlineMs: leading.settings.timings.deviceCallMs, signal: leading.term.ended };
  const state = await readOwnPower(device, record.hostUuid, call);
  if (isBmc(device)) {
    const privilege = await device.privilege(call);
    if (!MAY_SWITCH.includes(privilege)) {
      throw new Error(`its user has the privilege ${privilege}, and switching the power needs operator`);
    }
  }
  if (state === 'off' && leading.judging.livesBy(name).length > 0) {
    throw new Error('it says that the power is off, and the node is up');
  }
  return `it answers, may switch the power, and reads ${state}`;
}

function armed({ record: { selfFence } }: NodeView): string {
  const afterMs = milliseconds(selfFence?.after, 0);
  const watchdogMs = milliseconds(selfFence?.watchdog, 0);
  return `armed: proof ${String(proofByExpiryMs({ afterMs, watchdogMs }) / 1_000)} s after its session is gone`;
}

async function attempted(
  leading: FencerLeading,
  { rung, device, observer = '' }: { rung: string; device: string; observer?: string },
  work: () => Promise<string> | string,
): Promise<FenceAttempt> {
  const trying = tryNow(leading, rung, device, observer);
  try {
    return trying.ended(true, await work());
  } catch (error) {
    const heard = heardEpochOf('fencer', error);
    if (heard !== undefined) leading.term.overtaken(heard);
    return trying.ended(false, wordsOf(error));
  }
}
