// SPDX-License-Identifier: Apache-2.0
import { Network, NetworkKind, type Node, type NodeNetwork } from '@lockstep/sdk/v1';
import type { Page, View } from '../print.js';
import { renderFacts, type Column } from '../table.js';
import { NONE } from '../units.js';
import { wordOf } from '../words.js';

const kindOf = (network: Network): string => wordOf(NetworkKind, network.kind);
const tagOf = (network: Network): string => (network.tag === 0 ? NONE : String(network.tag));
const mtuOf = (network: Network): string => (network.mtu === 0 ? "the uplink's" : String(network.mtu));

const columns: readonly Column<Network>[] = [
  { header: 'NAME', text: (network) => network.name },
  { header: 'KIND', text: kindOf },
  { header: 'TAG', text: tagOf, align: 'right' },
  { header: 'BRIDGE', text: (network) => network.bridge },
  { header: 'UPLINK', text: (network) => network.uplink },
  { header: 'MTU', text: mtuOf, align: 'right' },
];

export const networkView: View<Network> = {
  columns: () => columns,
  name: (network) => network.name,
  toJson: (network) => Network.toJSON(network),
};

/** A network, and what each node says of it. */
export interface NetworkOnNodes {
  network: Network;
  nodes: readonly Node[];
}

interface OnNode {
  node: string;
  found: NodeNetwork | undefined;
}

const onNodeColumns: readonly Column<OnNode>[] = [
  { header: 'NODE', text: ({ node }) => node },
  { header: 'READY', text: readyOf, colour: (row) => (row.found?.ready === true ? 'green' : 'red') },
  { header: 'DETAIL', text: ({ found }) => found?.detail ?? 'its agent has not told of it', shrinks: true },
];

function readyOf({ found }: OnNode): string {
  return found?.ready === true ? 'yes' : 'no';
}

function onNodes({ network, nodes }: NetworkOnNodes): OnNode[] {
  return nodes.map((node) => ({ node: node.name, found: node.networks.find(({ name }) => name === network.name) }));
}

export const networkOnNodesView: View<NetworkOnNodes> = {
  columns: () => [{ header: 'NAME', text: ({ network }) => network.name }],
  name: ({ network }) => network.name,
  toJson: (shown) => ({
    network: Network.toJSON(shown.network),
    nodes: onNodes(shown).map(({ node, found }) => ({ node, ready: found?.ready ?? false, detail: found?.detail ?? '' })),
  }),
  details: (shown: NetworkOnNodes, page: Page) => {
    const { network } = shown;
    const facts = renderFacts(
      [
        ['Network', network.name],
        ['Kind', kindOf(network)],
        ['Tag', tagOf(network)],
        ['Bridge', network.bridge],
        ['Uplink', network.uplink],
        ['MTU', mtuOf(network)],
      ],
      page.paint,
    );
    return [facts, page.table(onNodeColumns, onNodes(shown))].join('\n');
  },
};
