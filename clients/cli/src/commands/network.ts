// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from 'node:crypto';
import { DeleteNetworkResponse, NetworkKind } from '@lockstep/sdk/v1';
import { type Command, Option } from 'commander';
import { countArgument, nameArgument } from '../arguments.js';
import { usageError } from '../exit.js';
import { networkOnNodesView, networkView } from '../output/views/network.js';
import { present } from '../present.js';
import { withCluster } from '../run.js';
import type { Terminal } from '../terminal.js';

interface CreateOptions {
  bridge: string;
  uplink: string;
  vlan?: number;
  vxlan?: number;
  mtu?: number;
}

export function addNetworkCommands(program: Command, terminal: Terminal): void {
  const network = program.command('network').description('bridged networks that every node offers to VMs');

  network
    .command('list')
    .description('list all networks')
    .action(async (_options: object, command: Command) => {
      await withCluster(terminal, command, async ({ cluster, printer }) => {
        printer.list(networkView, (await cluster.scheduler.listNetworks({})).networks, 'no networks');
      });
    });

  network
    .command('show')
    .description('show one network, and how it is on every node')
    .argument('<network>', 'its name', nameArgument)
    .action(async (name: string, _options: object, command: Command) => {
      await withCluster(terminal, command, async ({ cluster, printer }) => {
        const shown = present((await cluster.scheduler.getNetwork({ name })).network, 'network');
        const { nodes } = await cluster.scheduler.listNodes({});
        printer.details(networkOnNodesView, { network: shown, nodes });
      });
    });

  network
    .command('create')
    .description('offer a network on every node: the uplink itself, or a VLAN or VXLAN on it')
    .argument('<name>', 'its name', nameArgument)
    .requiredOption('--bridge <bridge>', 'the bridge that domain XML names', nameArgument)
    .requiredOption('--uplink <link>', "the hosts' link that it goes out by", nameArgument)
    .addOption(new Option('--vlan <id>', 'as this VLAN of the uplink').argParser(countArgument))
    .addOption(new Option('--vxlan <vni>', 'as this VXLAN over the uplink').argParser(tagArgument))
    .option('--mtu <bytes>', "largest packet; else the uplink's", countArgument)
    .action(async (name: string, options: CreateOptions, command: Command) => {
      const { bridge, uplink, mtu = 0 } = options;
      const wanted = { name, bridge, uplink, mtu, ...kindOf(options) };
      await withCluster(terminal, command, async ({ cluster, printer }) => {
        const answer = await cluster.scheduler.createNetwork({ requestId: randomUUID(), network: wanted });
        printer.row(networkView, present(answer.network, 'network'));
      });
    });

  network
    .command('delete')
    .description('take a network away; refused while a VM has an interface in it')
    .argument('<network>', 'its name', nameArgument)
    .action(async (name: string, _options: object, command: Command) => {
      await withCluster(terminal, command, async ({ cluster, printer }) => {
        await cluster.scheduler.deleteNetwork({ name });
        printer.done(DeleteNetworkResponse.toJSON({}), name);
        terminal.err(`${name} is taken away\n`);
      });
    });
}

/** Network identifiers have up to eight digits; whether one is too large, the Scheduler says. */
function tagArgument(text: string): number {
  return /^\d{1,8}$/.test(text) ? Number(text) : countArgument(text);
}

function kindOf({ vlan, vxlan }: CreateOptions): { kind: NetworkKind; tag: number } {
  if (vlan !== undefined && vxlan !== undefined) {
    throw usageError('USAGE', '--vlan and --vxlan exclude each other', 'lockstep network create --help');
  }
  if (vlan !== undefined) return { kind: NetworkKind.VLAN, tag: vlan };
  if (vxlan !== undefined) return { kind: NetworkKind.VXLAN, tag: vxlan };
  return { kind: NetworkKind.UNTAGGED, tag: 0 };
}
