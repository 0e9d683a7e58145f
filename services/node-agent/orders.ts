// SPDX-License-Identifier: Apache-2.0
import { LeaderRole, type OrderHeader, type VmOrder } from '@lockstep/sdk/v1';
import { invalidField, LockstepError } from '../core/errors/catalogue.js';
import type { DurableMemory, LeaderRoleName } from './durable-memory.js';

/** Who gave an order, as it was admitted. */
export interface Speaker {
  role: LeaderRoleName;
  epoch: bigint;
}

/** The VM an order is about, checked. */
export interface OrderedVm {
  vmId: string;
  placementEpoch: bigint;
  migrationId: string;
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/**
 * The guard at the head of every order and question (INV-4): keeps the highest epoch of each role durably before
 * anything is answered, and refuses lower ones and orders meant for an earlier life of this agent.
 */
export class OrderGuard {
  constructor(
    private readonly memory: DurableMemory,
    /** Undefined until the agent has joined. */
    private readonly incarnation: () => bigint | undefined,
  ) {}

  /** Admits an order. Where its epoch is kept already, nothing is written and nothing waited for. */
  async order(header: OrderHeader | undefined): Promise<Speaker> {
    const joined = this.#joined();
    if (header?.incarnation !== joined) throw this.#wrongIncarnation(header, joined);
    return this.#admit(header);
  }

  /** Admits a question of a leader: the incarnation may not be known to it yet. */
  async question(header: OrderHeader | undefined): Promise<Speaker> {
    const joined = this.#joined();
    const named = header?.incarnation ?? 0n;
    if (named !== 0n && named !== joined) throw this.#wrongIncarnation(header, joined);
    return this.#admit(header);
  }

  /** A leader that only looks raises its epoch too; a person has none. */
  async look(header: OrderHeader | undefined): Promise<void> {
    if (header !== undefined && header.leaderRole !== LeaderRole.UNSPECIFIED) await this.#admit(header);
  }

  /** Called again when an order's turn has come: a newer leader may have spoken while it waited. */
  stillHighest(speaker: Speaker): void {
    const kept = this.memory.leaderEpoch(speaker.role);
    if (speaker.epoch < kept) throw staleEpoch(speaker, kept);
  }

  isHighest(speaker: Speaker): boolean {
    return speaker.epoch >= this.memory.leaderEpoch(speaker.role);
  }

  async #admit(header: OrderHeader | undefined): Promise<Speaker> {
    const role = roleOf(header);
    const epoch = header?.leaderEpoch ?? 0n;
    if (role === undefined) {
      throw invalidField('header.leader_role', 'none', 'LEADER_ROLE_SCHEDULER or LEADER_ROLE_FENCER');
    }
    if (epoch === 0n) throw invalidField('header.leader_epoch', '0', 'the epoch the leader took the leadership with');
    const speaker = { role, epoch };
    this.stillHighest(speaker);
    const saving = this.memory.raiseLeaderEpoch(role, epoch);
    if (saving !== undefined) {
      await saving;
      this.stillHighest(speaker);
    }
    return speaker;
  }

  #joined(): bigint {
    const joined = this.incarnation();
    if (joined !== undefined) return joined;
    throw new LockstepError('NOT_JOINED', 'the agent has not joined the cluster yet: it cannot reach the store');
  }

  #wrongIncarnation(header: OrderHeader | undefined, joined: bigint): LockstepError {
    const got = String(header?.incarnation ?? 0n);
    const message = `the order is for incarnation ${got} of this agent, which is ${String(joined)} now`;
    return new LockstepError('WRONG_INCARNATION', message, { got, want: String(joined) });
  }
}

/** Checks which VM an order is about. Epoch 0 is allowed where the order is not about a copy. */
export function orderedVm(order: VmOrder | undefined, needs: { epoch: boolean; migration: boolean }): OrderedVm {
  const { vmId = '', placementEpoch = 0n, migrationId = '' } = order ?? {};
  if (!UUID.test(vmId)) throw invalidField('order.vm_id', JSON.stringify(vmId), 'a UUID in lower case');
  if (needs.epoch && placementEpoch === 0n) throw invalidField('order.placement_epoch', '0', 'the epoch of the copy');
  if (needs.migration && migrationId === '') throw invalidField('order.migration_id', 'none', 'the migration');
  return { vmId, placementEpoch, migrationId };
}

function roleOf(header: OrderHeader | undefined): LeaderRoleName | undefined {
  if (header?.leaderRole === LeaderRole.SCHEDULER) return 'scheduler';
  return header?.leaderRole === LeaderRole.FENCER ? 'fencer' : undefined;
}

function staleEpoch({ role, epoch }: Speaker, kept: bigint): LockstepError {
  const message = `${role} epoch ${String(epoch)} is over: ${String(kept)} was seen`;
  const want = `at least ${String(kept)}`;
  return new LockstepError('STALE_EPOCH', message, { role, leader_epoch: String(kept), got: String(epoch), want });
}
