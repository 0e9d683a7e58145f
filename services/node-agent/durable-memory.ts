// SPDX-License-Identifier: Apache-2.0
import { LockstepError } from '../core/errors/catalogue.js';
import type { DurableState } from '../platform/state/state.js';
import { decodeMemory, encodeMemory, type ArmedNote, type MemoryDocument, type VmNotes } from './memory-document.js';

export type LeaderRoleName = 'scheduler' | 'fencer';

/** Migrations on one VM follow each other; a late order of one further back is refused by its leader's epoch. */
const CLOSED_MIGRATIONS_KEPT = 8;

const NOTHING: Readonly<VmNotes> = Object.freeze({ floor: 0n, closedMigrations: [] });

/**
 * The agent's durable memory: leader epochs, floors, notes. A change holds in this process at once and is on disk when
 * its promise resolves; changes that come during a write share the next one. Epochs and floors only ever rise.
 */
export class DurableMemory {
  readonly bootId: string;
  /** There was nothing on disk: the host is new, or it lost its memory. */
  readonly fresh: boolean;
  readonly #state: DurableState;
  readonly #document: MemoryDocument;
  #revision = 0;
  /** Migrations whose mark `finishing` was set in this boot, by VM. */
  readonly #finishing: Map<string, string>;
  #writing: Promise<void> = Promise.resolve();
  #next: Promise<void> | undefined;
  /** As they are on disk: nobody is answered under an epoch before it is there. */
  #durableEpochs: Record<LeaderRoleName, bigint>;

  private constructor(input: {
    state: DurableState;
    document: MemoryDocument;
    bootId: string;
    finishing: Map<string, string>;
    fresh: boolean;
  }) {
    this.#state = input.state;
    this.#document = input.document;
    this.#durableEpochs = { ...input.document.leaderEpochs };
    this.bootId = input.bootId;
    this.#finishing = input.finishing;
    this.fresh = input.fresh;
  }

  /** Fails where the memory is damaged or is another node's. */
  static async load(state: DurableState, node: string): Promise<DurableMemory> {
    const [text, bootId] = [await state.load(), await state.bootId()];
    const document =
      text === undefined
        ? { node, leaderEpochs: { scheduler: 0n, fencer: 0n }, vms: new Map<string, VmNotes>() }
        : decode(text);
    if (document.node !== node) {
      throw new LockstepError('INVALID_FIELD', `the state directory belongs to node ${document.node}, not to ${node}`, {
        field: 'state_dir',
        got: document.node,
        want: node,
      });
    }
    const finishing = new Map<string, string>();
    for (const [vmId, notes] of document.vms) {
      if (notes.armed === undefined) continue;
      const mark = await state.readMark(markName(vmId));
      if (mark === markValue(notes.armed.migrationId, bootId)) finishing.set(vmId, notes.armed.migrationId);
    }
    return new DurableMemory({ state, document, bootId, finishing, fresh: text === undefined });
  }

  leaderEpoch(role: LeaderRoleName): bigint {
    return this.#document.leaderEpochs[role];
  }

  /** Resolves when the epoch is durable; undefined, and nothing is written, where it is so already. */
  raiseLeaderEpoch(role: LeaderRoleName, epoch: bigint): Promise<void> | undefined {
    if (epoch <= this.#durableEpochs[role]) return undefined;
    const kept = this.#document.leaderEpochs;
    if (epoch > kept[role]) kept[role] = epoch;
    return this.#save();
  }

  notes(vmId: string): Readonly<VmNotes> {
    return this.#document.vms.get(vmId) ?? NOTHING;
  }

  /** Rises with each change of what is noted of VMs. */
  get revision(): number {
    return this.#revision;
  }

  /** UUIDs of all VMs of which something is noted. */
  vmIds(): string[] {
    return [...this.#document.vms.keys()];
  }

  /** Durable when it resolves. A change that would lower the floor leaves it where it is. */
  async change(vmId: string, change: Partial<VmNotes>): Promise<void> {
    const before = this.notes(vmId);
    const floor = change.floor === undefined || change.floor < before.floor ? before.floor : change.floor;
    this.#revision += 1;
    this.#document.vms.set(vmId, { ...before, ...change, floor });
    if (isNothing(this.notes(vmId))) this.#document.vms.delete(vmId);
    await this.#save();
  }

  /** The source's note is closed for good: a late order of that migration is refused. */
  async closeOutgoing(vmId: string, migrationId: string, change: Partial<VmNotes> = {}): Promise<void> {
    const { closedMigrations, outgoing } = this.notes(vmId);
    const others = closedMigrations.filter((id) => id !== migrationId);
    await this.change(vmId, {
      ...change,
      outgoing: outgoing?.migrationId === migrationId ? undefined : outgoing,
      closedMigrations: [...others, migrationId].slice(-CLOSED_MIGRATIONS_KEPT),
    });
  }

  /** The target's note is closed; it stays, to tell whether the guest may have run. */
  async closeArmed(vmId: string, migrationId: string, change: Partial<VmNotes> = {}): Promise<void> {
    const { armed } = this.notes(vmId);
    if (armed?.migrationId !== migrationId) {
      await this.change(vmId, change);
    } else {
      await this.change(vmId, { ...change, armed: { ...armed, closed: true } });
    }
  }

  /** The one write inside the gap: plain, without fsync, as it only has to survive this process. */
  async markFinishing(vmId: string, migrationId: string): Promise<void> {
    this.#finishing.set(vmId, migrationId);
    await this.#state.mark(markName(vmId), markValue(migrationId, this.bootId));
  }

  /** Whether Finish may have been called in this boot for this migration. */
  isFinishing(vmId: string, migrationId: string): boolean {
    return this.#finishing.get(vmId) === migrationId;
  }

  /** The note of another migration replaced the one that the mark belonged to. */
  async forgetFinishing(vmId: string): Promise<void> {
    if (this.#finishing.delete(vmId)) await this.#state.clearMark(markName(vmId));
  }

  /** An armed note for a migration of which this memory may have forgotten everything: it may have run here. */
  async noteForgottenTarget(vmId: string, note: Pick<ArmedNote, 'migrationId' | 'placementEpoch'>): Promise<void> {
    const armed = { ...note, bootId: 'forgotten', memoryBytes: 0n, vcpus: 0, closed: true };
    await this.change(vmId, { armed });
  }

  /** Writes once nothing has been written yet, so that the next start knows that it is not new. */
  async keep(): Promise<void> {
    await this.#save();
  }

  /** One write at a time, in order; what changes during one is in the next. */
  #save(): Promise<void> {
    this.#next ??= this.#writing.then(() => this.#write());
    return this.#next;
  }

  #write(): Promise<void> {
    this.#next = undefined;
    const epochs = { ...this.#document.leaderEpochs };
    const writing = this.#state.save(encodeMemory(this.#document)).then(() => {
      this.#durableEpochs = epochs;
    });
    this.#writing = writing.catch(() => undefined);
    return writing;
  }
}

function decode(text: string): MemoryDocument {
  try {
    return decodeMemory(text);
  } catch (error) {
    throw new LockstepError('INTERNAL', 'the durable memory in the state directory is damaged', {}, { cause: error });
  }
}

function isNothing({ floor, outgoing, armed, closedMigrations, assignment }: VmNotes): boolean {
  const noNote = outgoing === undefined && armed === undefined && assignment === undefined;
  return floor === 0n && noNote && closedMigrations.length === 0;
}

function markName(vmId: string): string {
  return `finishing-${vmId}`;
}

function markValue(migrationId: string, bootId: string): string {
  return `${migrationId} ${bootId}`;
}
