// SPDX-License-Identifier: Apache-2.0
import { DisarmMode, Node, NodeMode, type Network, type Vm } from '@lockstep/sdk/v1';
import { LockstepError } from '../core/errors/catalogue.js';
import { armingCodec, leaderCodec, migrationCodec, networkCodec, nodeCodec, vmCodec } from '../core/records/codec.js';
import { keys, MAIN_NETWORK, nameOf } from '../core/records/keys.js';
import type { Store } from '../platform/store/store.js';
import type { AgentConfig } from './config.js';
import type { DurableMemory } from './durable-memory.js';

/** The same name on two hosts: a person must decide. The agent ends. */
export class IdentityMismatch extends Error {
  override readonly name = 'IdentityMismatch';
}

/** What joining yields: from here on the agent may be given orders. */
export interface Joined {
  incarnation: bigint;
  /** All VMs, read after the joining: whatever they entitle to holds until somebody takes it back from this agent. */
  vms: Vm[];
  /** Of VMs that were undefined: the last placement epoch of each, by UUID. */
  undefinedVms: ReadonlyMap<string, bigint>;
  /** All networks. */
  networks: Network[];
  /** All VMs are left to their owners. */
  leftAlone: boolean;
}

export interface JoinInput {
  store: Store;
  config: AgentConfig;
  memory: DurableMemory;
  /** Undefined while the hypervisor does not answer. */
  hostUuid: string | undefined;
  hypervisorVersion: string;
  hostAddresses: readonly string[];
}

const CONSISTENT = { consistency: 'consistent' } as const;

/**
 * Joining: one transaction on the node's record (incarnation + 1, FENCED cleared), then everything that must be known
 * before the first order. In this order: a leader that counts this host as off checks in its own transaction that the
 * record still says so, which it does not from here on.
 */
export async function join(input: JoinInput): Promise<Joined> {
  const { store, memory } = input;
  const incarnation = await writeNode(input);
  await raiseLeaderEpochs(store, memory);
  const { entries } = await store.list(keys.vms, CONSISTENT);
  const vms = entries.map(({ value, index }) => vmCodec.decode(value, index));
  const listed = await store.list(keys.networks, CONSISTENT);
  const networks = listed.entries.map(({ value, index }) => networkCodec.decode(value, index));
  const undefinedVms = await lastEpochsOfUndefined(store, vms);
  const leftAlone = await readLeftAlone(store);
  if (memory.fresh && incarnation > 1n) await recallMigrations(input, vms);
  await memory.keep();
  return { incarnation, vms, undefinedVms, networks, leftAlone };
}

/** Whether somebody switched the cluster's care off, so that all VMs are left to their owners. */
export async function readLeftAlone(store: Store, signal?: AbortSignal): Promise<boolean> {
  const entry = await store.get(keys.arming, signal === undefined ? CONSISTENT : { ...CONSISTENT, signal });
  return entry !== undefined && armingCodec.decode(entry.value, entry.index).mode === DisarmMode.IGNORE;
}

/** The last placement epoch of each VM that was undefined, by UUID: a copy of it may be left where nobody could be told. */
async function lastEpochsOfUndefined(store: Store, vms: readonly Vm[]): Promise<Map<string, bigint>> {
  const { entries } = await store.list(keys.vmEpochs, CONSISTENT);
  const epochs = new Map(entries.map(({ key, value }) => [nameOf(key), BigInt(value)]));
  for (const { id } of vms) epochs.delete(id);
  return epochs;
}

async function writeNode(input: JoinInput): Promise<bigint> {
  const { store, config } = input;
  const key = keys.node(config.node);
  const entry = await store.get(key, CONSISTENT);
  const before = entry === undefined ? undefined : nodeCodec.decode(entry.value, entry.index);
  const hostUuid = identity(input, before);
  const record = Node.create({
    ...before,
    name: config.node,
    hostUuid,
    address: config.address,
    incarnation: (before?.incarnation ?? 0n) + 1n,
    // What an operator, or a drain, wants of it outlives its agent.
    mode: before === undefined || before.mode === NodeMode.UNSPECIFIED ? NodeMode.ACTIVE : before.mode,
    fencedBy: '',
    steady: false,
    leaving: undefined,
    selfFence: undefined,
    addressNetwork: config.addressNetwork ?? MAIN_NETWORK,
    furtherAddresses: (config.furtherAddresses ?? []).map((each) => ({ ...each })),
    hostAddresses: [...input.hostAddresses],
    labels: { ...(config.labels ?? before?.labels) },
    agentVersion: config.version,
    hypervisorVersion: input.hypervisorVersion === '' ? (before?.hypervisorVersion ?? '') : input.hypervisorVersion,
  });
  const value = nodeCodec.encode(record);
  const result = await store.txn([{ op: 'cas', key, value, index: entry?.index ?? 0n }]);
  if (result.outcome === 'committed') return record.incarnation;
  throw new LockstepError('STORE_CONFLICT', 'somebody else wrote the node record at the same time', { node: config.node });
}

/** While the hypervisor does not answer, a host with its memory is taken for the one whose record this is. */
function identity({ config, memory, hostUuid }: JoinInput, before: Node | undefined): string {
  const known = before?.hostUuid === '' ? undefined : before?.hostUuid;
  if (hostUuid !== undefined && known !== undefined && hostUuid !== known) {
    throw new IdentityMismatch(
      `node ${config.node} is host ${known} in the store, and this host is ${hostUuid}: ` +
        'give this host another name, or remove the record of the old one',
    );
  }
  const found = hostUuid ?? (memory.fresh ? undefined : known);
  if (found !== undefined) return found;
  throw new LockstepError('HYPERVISOR_DOWN', 'the UUID of this host is not known until its hypervisor answers');
}

/** An order of a leader that was replaced before this agent came must not be obeyed. */
async function raiseLeaderEpochs(store: Store, memory: DurableMemory): Promise<void> {
  for (const role of ['scheduler', 'fencer'] as const) {
    const entry = await store.get(keys.leader(role), CONSISTENT);
    if (entry !== undefined) {
      await memory.raiseLeaderEpoch(role, leaderCodec.decode(entry.value, entry.index).leaderEpoch);
    }
  }
}

/**
 * A host that lost its memory does not know what it was prepared for: there, any guest may have run. Nor what it had
 * begun to send: the hypervisor is asked for that.
 */
async function recallMigrations({ store, config, memory }: JoinInput, vms: Vm[]): Promise<void> {
  const open = new Set(vms.map((vm) => vm.placement?.migrationId ?? '').filter((id) => id !== ''));
  if (open.size === 0) return;
  const { entries } = await store.list(keys.migrations, CONSISTENT);
  for (const { value, index } of entries) {
    const { id, vmId, sourceNode, targetNode, placementEpoch, sourcePlacementEpoch } = migrationCodec.decode(value, index);
    if (!open.has(id)) continue;
    if (targetNode === config.node) {
      await memory.noteForgottenTarget(vmId, { migrationId: id, placementEpoch });
    } else if (sourceNode === config.node) {
      const outgoing = { migrationId: id, placementEpoch: sourcePlacementEpoch, transferStarted: true };
      await memory.change(vmId, { outgoing });
    }
  }
}
