// SPDX-License-Identifier: Apache-2.0
import { open } from 'node:fs/promises';
import { z } from 'zod';
import type { Clock } from '../clock/clock.js';
import { ConfigError, parseConfig } from '../config/load.js';
import { createIpmiBmc, type IpmiTarget } from './ipmi.js';
import { createFenceAgent } from './fence-agent.js';
import { devicesOf, noBmcs, type Bmcs, type PowerDevice } from './power.js';

/** IPMI 2.0 keeps so much of each. */
const LONGEST_NAME = 16;
const LONGEST_PASSWORD = 20;
/** Of some hundreds of nodes. */
const LARGEST_FILE_BYTES = 1024 * 1024;
const MOST_FURTHER = 7;
/** One line of a fence agent's input each. */
const optionSchema = z
  .union([z.string().max(1_024).regex(/^[^\n\r]*$/, 'want one line'), z.number(), z.boolean()])
  .transform((value) => (typeof value === 'boolean' ? (value ? '1' : '0') : String(value)));
/** Everybody but the owner. */
const OTHERS_MODE = 0o077;

const ipmiSchema = z
  .strictObject({
    kind: z.literal('ipmi'),
    address: z.string().min(1).max(255),
    port: z.int().min(1).max(65_535).default(623),
    username: z.string().min(1).max(LONGEST_NAME),
    password: z.string().min(1).max(LONGEST_PASSWORD),
    cipher_suite: z.int().min(0).max(255).default(17),
    /** Its GUID, where that is not its host's UUID. */
    guid: z.uuid().optional(),
  })
  .transform(
    ({ cipher_suite, guid, kind, ...target }): IpmiTarget & { kind: 'ipmi' } => ({
      ...target,
      kind,
      cipherSuite: cipher_suite,
      expectedGuid: guid?.toLowerCase().replaceAll('-', ''),
    }),
  );

/** A device that a fence agent switches. Its options are the agent's own, e.g. `ip`, `username`, `password`, `plug`. */
const fenceAgentSchema = z.strictObject({
  kind: z.literal('fence-agent'),
  agent: z.string().regex(/^fence_[a-z0-9_]+$/, 'want the name of a fence agent, e.g. fence_apc'),
  options: z.record(z.string().regex(/^[a-z0-9_-]+$/), optionSchema).refine((options) => !('action' in options), {
    message: 'no action: that is said for each call',
  }),
});

const deviceSchema = z.discriminatedUnion('kind', [ipmiSchema, fenceAgentSchema]);

type Device = z.output<typeof deviceSchema>;

/** Each node's devices in the order in which they are tried. */
function byNode(bmcs: Record<string, Device>, further: Record<string, Device[]>): Map<string, Device[]> {
  const names = new Set([...Object.keys(bmcs), ...Object.keys(further)]);
  return new Map(
    [...names].map((node) => {
      const first = bmcs[node];
      return [node, [...(first === undefined ? [] : [first]), ...(further[node] ?? [])]];
    }),
  );
}

/** All nodes' BMCs, the same file on every host: peers must check them, and any host may lead. */
const bmcFileSchema = z
  .strictObject({
    nodes: z.record(z.string().min(1), ipmiSchema),
    /** Further devices by node, tried in this order after its BMC; a node without a BMC may have some, too. */
    further: z.record(z.string().min(1), z.array(deviceSchema).max(MOST_FURTHER)).default({}),
  })
  .superRefine(({ nodes, further }, context) => {
    const owners = new Map<string, string>();
    for (const [node, devices] of byNode(nodes, further)) {
      for (const device of devices) {
        if (device.kind !== 'ipmi') continue;
        const key = `${device.address}:${String(device.port)}`;
        const owner = owners.get(key);
        // Fencing one would power the other off.
        if (owner !== undefined) {
          context.addIssue({ code: 'custom', path: ['nodes', node, 'address'], message: `another one than ${owner}'s` });
        }
        owners.set(key, node);
      }
    }
  });

/**
 * Reads the BMCs of all nodes. Refuses a file that anybody but its owner can read. Rejects with ConfigError, whose
 * message names no secret.
 */
export async function loadBmcs(file: string | undefined, clock: Clock): Promise<Bmcs> {
  if (file === undefined) return noBmcs;
  const { nodes, further } = parseConfig(file, await readOwn(file), bmcFileSchema);
  return devicesOf(
    new Map([...byNode(nodes, further)].map(([node, devices]) => [node, devices.map((device) => deviceOf(device, clock))])),
  );
}

function deviceOf(device: Device, clock: Clock): PowerDevice {
  return device.kind === 'ipmi' ? createIpmiBmc(device, clock) : createFenceAgent(device, clock);
}

/** Who may read it is asked of the file that is open, not of its name. */
async function readOwn(file: string): Promise<string> {
  const refused = (what: string): ConfigError => new ConfigError(file, [{ field: '', what }]);
  let handle;
  try {
    handle = await open(file, 'r');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
    throw refused(`cannot be read (${code})`);
  }
  try {
    const { mode, size } = await handle.stat();
    if ((mode & OTHERS_MODE) !== 0) throw refused(`holds passwords and others than its owner can read it; chmod 600 ${file}`);
    if (size > LARGEST_FILE_BYTES) throw refused('larger than 1 MiB: these are no credentials');
    return await handle.readFile('utf8');
  } finally {
    await handle.close();
  }
}
