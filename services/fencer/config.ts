// SPDX-License-Identifier: Apache-2.0
import { z } from 'zod';
import { BRAKE_LIMITS } from '../core/fencing/brake.js';
import { LADDER, RUNGS, type LadderSettings } from '../core/fencing/ladder.js';
import { JUDGEMENT_LIMITS } from '../core/judgement/facts.js';
import { commonKeys } from '../platform/process/run.js';
import type { FencerTimings } from './fencer.js';
import { DRILL_EVERY_MS, FENCING_TIMINGS, type FencingSettings } from './leading.js';

/** Fewer than three throws would let a single lost heartbeat and a slow second one fence a node. */
const FEWEST_THROWS = 3;

const timingsSchema = z
  .strictObject({
    /** Saving throws a silent node has. */
    throws: z.int().min(FEWEST_THROWS).max(100).default(JUDGEMENT_LIMITS.throwsTotal),
    /** Seconds between two throws. */
    throw_seconds: z.number().min(1).max(60).default(JUDGEMENT_LIMITS.throwMs / 1_000),
    /** Seconds a node that said it leaves may be silent before its throws begin. */
    leaving_seconds: z.number().min(0).max(86_400).default(JUDGEMENT_LIMITS.leavingLimitMs / 1_000),
  })
  .transform(({ throws, throw_seconds, leaving_seconds }): FencerTimings => {
    const throwMs = throw_seconds * 1_000;
    return {
      lookEveryMs: throwMs / 5,
      judgement: {
        throwsTotal: throws,
        throwMs,
        observerStallMs: throwMs,
        leavingLimitMs: leaving_seconds * 1_000,
      },
    };
  });

const ladderSchema = z
  .strictObject({
    /** What is tried, in order; `power` stands for all devices of the node, in the order of the BMC file. */
    rungs: z
      .array(z.enum(RUNGS))
      .min(1)
      .refine((rungs) => new Set(rungs).size === rungs.length, { message: 'each rung once' })
      .default([...LADDER.rungs]),
    /** Whether a node is switched on again once it was proven off and its VMs are being restarted. */
    power_on: z.boolean().default(LADDER.powerOn),
  })
  .transform(({ rungs, power_on }): LadderSettings => ({ rungs, powerOn: power_on }));

const fencingSchema = z
  .strictObject({
    /** Of every node that has none of its own. */
    ladder: ladderSchema.prefault({}),
    /** Ladders of single nodes, by name. */
    nodes: z.record(z.string().min(1), ladderSchema).default({}),
    /** Nodes that die within this time count together: more than a third of all, and more than one, are held. */
    window_seconds: z.number().min(10).max(86_400).default(BRAKE_LIMITS.windowMs / 1_000),
    /** Actions worked at a time. */
    at_once: z.int().min(1).max(100).default(BRAKE_LIMITS.atOnce),
    /** How long a new leader looks before it fences anybody of its own accord. */
    hold_off_seconds: z.number().min(0).max(3_600).default(BRAKE_LIMITS.holdOffMs / 1_000),
    /** Each node's ladder is tested without harm this often; 0: only by `lockstep fence test`. */
    drill_hours: z.number().min(0).max(8_760).default(DRILL_EVERY_MS / 3_600_000),
    /** How long a host may take to boot before a test of its power counts as failed. */
    boot_seconds: z.number().min(10).max(7_200).default(FENCING_TIMINGS.bootMs / 1_000),
    /** How long one request to a BMC or another device may take. */
    device_call_seconds: z.number().min(1).max(300).default(FENCING_TIMINGS.deviceCallMs / 1_000),
    /** How long a device has to read off after it was told to switch off. */
    read_back_seconds: z.number().min(1).max(600).default(FENCING_TIMINGS.readBackMs / 1_000),
  })
  .transform((given): FencingSettings => ({
    ladder: given.ladder,
    ladders: new Map(Object.entries(given.nodes)),
    brake: {
      windowMs: given.window_seconds * 1_000,
      atOnce: given.at_once,
      holdOffMs: given.hold_off_seconds * 1_000,
    },
    drillEveryMs: given.drill_hours * 3_600_000,
    timings: {
      ...FENCING_TIMINGS,
      bootMs: given.boot_seconds * 1_000,
      deviceCallMs: given.device_call_seconds * 1_000,
      readBackMs: given.read_back_seconds * 1_000,
    },
  }));

/** The Fencer's configuration file. */
export const fencerSchema = z.strictObject({
  ...commonKeys,
  timings: timingsSchema.prefault({}),
  /** How dead nodes are proven dead. */
  fencing: fencingSchema.prefault({}),
  /** The BMCs and other power devices of all nodes; only its owner may read it. Without one nothing can be switched off. */
  bmc_file: z.string().min(1).optional(),
});
