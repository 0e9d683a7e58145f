// SPDX-License-Identifier: Apache-2.0
import type { CreateNetworkRequest, Network, SchedulerServiceImplementation } from '@lockstep/sdk/v1';
import { needsOf } from '../../core/domain-xml/devices.js';
import { invalidField, LockstepError } from '../../core/errors/catalogue.js';
import { checkBeside, checkNetwork } from '../../core/networks/check.js';
import { networkCodec, type Stored } from '../../core/records/codec.js';
import { keys } from '../../core/records/keys.js';
import { LostTransaction } from '../../membership/ledger.js';
import { checkRequestId, earlierResult, noteRequest } from '../../membership/requests.js';
import type { Leading } from '../term.js';

const NO_INDEX = 0n;
const NETWORKS = { prefix: keys.networks, codec: networkCodec };

/** The part of the API that is about networks, as the leader answers it. */
export function networkApi(
  led: () => Leading,
): Pick<SchedulerServiceImplementation, 'createNetwork' | 'getNetwork' | 'listNetworks' | 'deleteNetwork'> {
  return {
    async createNetwork(request) {
      const leading = led();
      return { network: await leading.turns.inTurn(request.requestId, () => createNetwork(leading, request)) };
    },
    getNetwork: async ({ name }) => Promise.resolve({ network: findNetwork(led(), name).record }),
    listNetworks: async () => Promise.resolve({ networks: networksOf(led()) }),
    deleteNetwork: async ({ name }) => {
      await deleteNetwork(led(), name);
      return {};
    },
  };
}

/** All networks, ordered by name. */
export function networksOf({ networks }: Leading): Network[] {
  return networks
    .all()
    .map(({ record }) => record)
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** The network with this name. Fails with NETWORK_NOT_FOUND, or INVALID_FIELD where nothing was named. */
function findNetwork({ networks }: Leading, name: string): Stored<Network> {
  if (name === '') throw invalidField('name', 'nothing', "a network's name");
  const stored = networks.get(name);
  if (stored === undefined) throw new LockstepError('NETWORK_NOT_FOUND', `there is no network ${name}`, { network: name });
  return stored;
}

/** Writes a network down; nodes are told of it by level. */
async function createNetwork(leading: Leading, { requestId, network: given }: CreateNetworkRequest): Promise<Network> {
  checkRequestId(requestId);
  const earlier = await earlierResult(leading.env, requestId, NETWORKS);
  if (earlier !== undefined) return earlier;
  if (given === undefined) throw invalidField('network', 'nothing', 'a network');
  const network: Network = { ...given, requestId, etag: '' };
  checkNetwork(network);
  if (leading.networks.get(network.name) !== undefined) throw taken(network);
  checkBeside(network, networksOf(leading));
  try {
    const index = await leading.ledger.write([
      { op: 'cas', key: keys.network(network.name), value: networkCodec.encode(network), index: NO_INDEX },
      ...noteRequest(requestId, keys.network(network.name)),
    ]);
    const record = { ...network, etag: index.toString() };
    leading.networks.put(network.name, { record, index });
    return record;
  } catch (error) {
    if (!(error instanceof LostTransaction)) throw error;
    const first = await earlierResult(leading.env, requestId, NETWORKS);
    if (first === undefined) throw taken(network);
    return first;
  }
}

async function deleteNetwork(leading: Leading, name: string): Promise<void> {
  const { record, index } = findNetwork(leading, name);
  const users = usersOf(leading, record);
  if (users.length > 0) {
    throw new LockstepError('NETWORK_IN_USE', `${name} is used by ${users.join(', ')}`, { network: name, vms: users.join(',') });
  }
  const written = await leading.ledger.write([
    { op: 'delete-cas', key: keys.network(name), index },
    ...(record.requestId === '' ? [] : [{ op: 'delete', key: keys.request(record.requestId) } as const]),
  ]);
  leading.networks.remove(name, written);
}

/** Names of the VMs that have an interface in it, whether they run or not. */
function usersOf(leading: Leading, { bridge }: Network): string[] {
  return leading.vms
    .all()
    .map(({ record }) => record)
    .filter(({ spec }) => spec !== undefined && needsOf(spec.domainXml).bridges.includes(bridge))
    .map(({ name }) => name)
    .sort();
}

function taken({ name }: Network): LockstepError {
  return new LockstepError('NETWORK_NAME_TAKEN', `there is a network ${name} already`, {
    field: 'network.name',
    got: name,
    want: 'a name that is not in use',
    network: name,
  });
}
