// SPDX-License-Identifier: Apache-2.0
import { Cluster, LeaderRole, type Leader } from '@lockstep/sdk/v1';
import { isTerminal } from '../core/migration/transitions.js';
import { isFenceEnded } from '../core/fencing/transitions.js';
import { armingCodec, fenceActionCodec, leaderCodec } from '../core/records/codec.js';
import { keys } from '../core/records/keys.js';
import type { LeaderView } from '../membership/leadership.js';
import type { Env } from '../platform/env.js';
import type { LeaderDesk } from './api.js';
import { readEntries, readEntry } from '../membership/ledger.js';
import { VERSION } from '../core/version.js';
import { durationOf } from '../core/duration.js';
import { nodesNow } from './nodes/view.js';

const ROLES = { scheduler: LeaderRole.SCHEDULER, fencer: LeaderRole.FENCER } as const;

/** The cluster at a glance. */
export async function clusterOf(env: Env, self: LeaderView, { leading }: LeaderDesk): Promise<Cluster> {
  const nodes = nodesNow(leading);
  return Cluster.create({
    leaders: await Promise.all([leaderOf(env, 'scheduler'), leaderOf(env, 'fencer')]),
    nodesTotal: nodes.length,
    nodesReady: nodes.filter(({ ready }) => ready).length,
    vmsTotal: leading.vms.size,
    vmsRunning: nodes.reduce((sum, { figures }) => sum + (figures?.vmsRunning ?? 0), 0),
    migrationsOpen: leading.migrations.all().filter(({ record }) => !isTerminal(record.state)).length,
    ...(await fencingOf(env)),
    overprovisioned: isOverprovisioned(nodes),
    options: leading.options,
    version: VERSION,
    ...(self.kind === 'self' ? { leadingFor: durationOf(env.clock.nowMs() - self.sinceMs) } : {}),
  });
}

/** More is provisioned than all nodes have together. */
function isOverprovisioned(nodes: ReturnType<typeof nodesNow>): boolean {
  const sum = (of: 'totalBytes' | 'provisionedBytes'): bigint =>
    nodes.reduce((all, { figures }) => all + (figures?.memory?.[of] ?? 0n), 0n);
  return sum('provisionedBytes') > sum('totalBytes');
}

/** What the Fencer's records say: they are read, as another leader writes them. */
async function fencingOf(env: Env): Promise<Pick<Cluster, 'arming' | 'fenceActionsOpen'>> {
  const entry = await readEntry(env, keys.arming);
  const entries = await readEntries(env, keys.fenceActions);
  const open = entries.filter(({ value, index }) => !isFenceEnded(fenceActionCodec.decode(value, index).state));
  return {
    arming: entry === undefined ? undefined : armingCodec.decode(entry.value, entry.index),
    fenceActionsOpen: open.length,
  };
}

async function leaderOf(env: Env, role: keyof typeof ROLES): Promise<Leader> {
  const entry = await readEntry(env, keys.leader(role));
  const nobody: Leader = { role: ROLES[role], name: '', address: '', leaderEpoch: 0n };
  if (entry === undefined) return nobody;
  const leader = leaderCodec.decode(entry.value, entry.index);
  // The record of the last leader stays when its session is gone.
  return entry.session === undefined ? { ...nobody, leaderEpoch: leader.leaderEpoch } : leader;
}
