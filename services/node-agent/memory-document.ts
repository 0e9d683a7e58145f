// SPDX-License-Identifier: Apache-2.0
import { z } from 'zod';

const whole = z
  .string()
  .regex(/^\d{1,20}$/)
  .transform((text) => BigInt(text));

const outgoing = z.object({
  migrationId: z.string().min(1),
  placementEpoch: whole,
  transferStarted: z.boolean(),
});

const armed = z.object({
  migrationId: z.string().min(1),
  placementEpoch: whole,
  bootId: z.string(),
  memoryBytes: whole,
  vcpus: z.number().int().nonnegative(),
  closed: z.boolean(),
});

const assignment = z.object({
  desired: z.number().int(),
  placementEpoch: whole,
  memoryBytes: whole,
  vcpus: z.number().int().nonnegative(),
});

const vm = z.object({
  floor: whole,
  outgoing: outgoing.optional(),
  armed: armed.optional(),
  closedMigrations: z.array(z.string()),
  assignment: assignment.optional(),
});

const memory = z.object({
  format: z.literal(1),
  node: z.string(),
  leaderEpochs: z.object({ scheduler: whole, fencer: whole }),
  vms: z.record(z.string(), vm),
});

/** This agent is the source of a migration that is not closed. */
export type OutgoingNote = z.output<typeof outgoing>;

/**
 * This agent was prepared as the target of a migration. A closed note stays until the next one: it still tells whether
 * the guest may have run here.
 */
export type ArmedNote = z.output<typeof armed>;

/** What a VM shall be here, as last ordered. Its definition is in its record, which is read again at every start. */
export type AssignmentNote = z.output<typeof assignment>;

/** What an agent must not forget of one VM. */
export interface VmNotes {
  /** The highest placement epoch given up here. */
  floor: bigint;
  outgoing?: OutgoingNote | undefined;
  armed?: ArmedNote | undefined;
  /** The last migrations that were closed here as their source, so that a late Prepare of one is refused. */
  closedMigrations: string[];
  assignment?: AssignmentNote | undefined;
}

/** Everything an agent must not forget. */
export interface MemoryDocument {
  node: string;
  leaderEpochs: Record<'scheduler' | 'fencer', bigint>;
  vms: Map<string, VmNotes>;
}

export function encodeMemory({ node, leaderEpochs, vms }: MemoryDocument): string {
  const document = { format: 1, node, leaderEpochs, vms: Object.fromEntries(vms) };
  return JSON.stringify(document, (_key, value: unknown) => (typeof value === 'bigint' ? value.toString() : value));
}

/** Throws on anything it does not understand whole: epochs and floors that were forgotten silently would be unsafe. */
export function decodeMemory(text: string): MemoryDocument {
  const { node, leaderEpochs, vms } = memory.parse(JSON.parse(text));
  return { node, leaderEpochs, vms: new Map(Object.entries(vms)) };
}
