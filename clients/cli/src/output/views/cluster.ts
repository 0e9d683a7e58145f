// SPDX-License-Identifier: Apache-2.0
import { Cluster, DisarmMode, LeaderRole, type Leader } from '@lockstep/sdk/v1';
import type { View } from '../print.js';
import { renderFacts, type Facts } from '../table.js';
import { formatDuration } from '../units.js';
import { wordOf, type Colour } from '../words.js';

const ROLES = [
  ['Scheduler', LeaderRole.SCHEDULER],
  ['Fencer', LeaderRole.FENCER],
] as const;

function leaderFact(label: string, leader: Leader | undefined): readonly [string, string, Colour | undefined] {
  if (leader === undefined || leader.address === '') return [label, 'nobody leads', 'red'];
  return [label, `${leader.name} at ${leader.address}, leader epoch ${leader.leaderEpoch.toString()}`, undefined];
}

const isDisarmed = ({ arming }: Cluster): boolean => arming !== undefined && arming.mode !== DisarmMode.UNSPECIFIED;

/** Whether the Fencer may act, and what it is at. */
function fencingOf(cluster: Cluster): string {
  const { arming, fenceActionsOpen } = cluster;
  const open = fenceActionsOpen === 0 ? '' : `, ${String(fenceActionsOpen)} fence actions open`;
  if (arming === undefined || !isDisarmed(cluster)) return `armed${open}`;
  return `disarmed (${wordOf(DisarmMode, arming.mode).toLowerCase()}) by ${arming.by}: ${arming.reason}${open}`;
}

function factsOf(cluster: Cluster): Facts {
  const allReady = cluster.nodesReady === cluster.nodesTotal;
  return [
    ...ROLES.map(([label, role]) =>
      leaderFact(
        label,
        cluster.leaders.find((leader) => leader.role === role),
      ),
    ),
    ['Leading for', formatDuration(cluster.leadingFor)],
    [
      'Nodes',
      `${String(cluster.nodesReady)} of ${String(cluster.nodesTotal)} ready`,
      allReady ? 'green' : 'yellow',
    ],
    ['VMs', `${String(cluster.vmsRunning)} of ${String(cluster.vmsTotal)} running`],
    ['Migrations', `${String(cluster.migrationsOpen)} open`],
    ['Fencing', fencingOf(cluster), isDisarmed(cluster) ? 'red' : undefined],
    ['Memory', cluster.overprovisioned ? 'more provisioned than there is' : '', 'red'],
    ['Version', cluster.version],
  ];
}

export const clusterView: View<Cluster> = {
  columns: () => [{ header: 'VERSION', text: (cluster) => cluster.version }],
  // What --server takes.
  name: (cluster) => cluster.leaders.find(({ role }) => role === LeaderRole.SCHEDULER)?.address ?? '',
  toJson: (cluster) => Cluster.toJSON(cluster),
  details: (cluster, page) => renderFacts(factsOf(cluster), page.paint),
};
