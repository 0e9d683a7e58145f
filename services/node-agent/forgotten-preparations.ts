// SPDX-License-Identifier: Apache-2.0
import { vmCodec } from '../core/records/codec.js';
import { keys } from '../core/records/keys.js';
import type { AgentParts } from './parts.js';
import type { Reconciler } from './reconcile.js';

const RECORD_LIMIT_MS = 3_000;

/**
 * Looks after preparations whose migration was closed without a word to this node: its host was proven off, and it joined
 * while the other end was still to be told. Where the VM was undefined since, nobody would ever come to clear them.
 */
export class ForgottenPreparations {
  private looking = false;
  /** By VM, the migration that an earlier life of this agent was prepared for: those of this life have a leader that watches. */
  private readonly left = new Map<string, string>();

  constructor(
    private readonly parts: AgentParts,
    private readonly reconciler: Pick<Reconciler, 'kick'>,
  ) {
    for (const vmId of parts.memory.vmIds()) {
      const { armed } = parts.memory.notes(vmId);
      if (armed?.closed === false) this.left.set(vmId, armed.migrationId);
    }
  }

  /** Never rejects: what cannot be read or done is looked at again. */
  async look(): Promise<void> {
    if (this.looking) return;
    this.looking = true;
    const { env, queues } = this.parts;
    try {
      for (const vmId of this.left.keys()) await queues.run(vmId, 'forgotten preparation', () => this.settle(vmId));
    } catch (error) {
      env.log.warn('whether earlier migrations are still open cannot be told', { error });
    } finally {
      this.looking = false;
    }
  }

  private async settle(vmId: string): Promise<void> {
    const { env, config, memory, stopped } = this.parts;
    const { armed } = memory.notes(vmId);
    if (armed?.closed !== false || armed.migrationId !== this.left.get(vmId)) {
      this.left.delete(vmId);
      return;
    }
    const entry = await env.store.get(keys.vm(vmId), { consistency: 'consistent', deadlineMs: RECORD_LIMIT_MS, signal: stopped });
    const placement = entry === undefined ? undefined : vmCodec.decode(entry.value, entry.index).placement;
    if (placement?.migrationId === armed.migrationId) return;
    // It arrived: its leader tells this node what the VM shall be, and that closes it.
    if (placement?.node === config.node && placement.epoch === armed.placementEpoch) return;
    // Nobody has the right to run under this epoch, nor ever will again.
    await memory.change(vmId, { floor: armed.placementEpoch });
    await memory.closeArmed(vmId, armed.migrationId);
    env.log.info('an earlier migration was closed without a word to this node', { vm: vmId, migration: armed.migrationId });
    this.reconciler.kick(vmId);
  }
}
