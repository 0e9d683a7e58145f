// SPDX-License-Identifier: Apache-2.0
import { isGuidOf } from '../../core/fencing/bmc-check.js';
import type { Term } from '../../membership/leadership.js';
import type { NodeStreams, NodeView } from '../../membership/node-streams.js';
import type { FencerEnv } from '../../platform/env.js';
import type { CallLimit } from '../../platform/hypervisor/hypervisor.js';
import { isBmc, type PowerDevice, type PowerState } from '../../platform/power/power.js';
import { lookEverySecond, missedSign, wordsOf } from './looks.js';

const READ_LIMIT_MS = 10_000;
const AGAIN_AFTER_MS = 3_000;

/** What a node's devices said of its power. */
export interface PowerReading {
  /** Undefined: none of them could tell. */
  state: PowerState | undefined;
  startedAtMs: number;
  endedAtMs: number;
  /** One line, never a secret. */
  detail: string;
}

/** The power of nodes that missed a sign of life, read for as long as they miss it. Reads only. */
export class PowerReads {
  readonly #readings = new Map<string, PowerReading>();
  readonly #busy = new Set<string>();

  constructor(private readonly options: { env: Pick<FencerEnv, 'clock' | 'bmcs'>; term: Term; streams: NodeStreams }) {}

  /** Settles when the term ended. */
  run(): Promise<void> {
    const { env, term, streams } = this.options;
    return lookEverySecond({ clock: env.clock, term, streams }, (views, nowMs) => {
      for (const view of views) {
        const before = this.#readings.get(view.name);
        if (!missedSign(view, nowMs) || env.bmcs.devices(view.name).length === 0 || this.#busy.has(view.name)) continue;
        if (before !== undefined && nowMs - before.endedAtMs < AGAIN_AFTER_MS) continue;
        void this.#read(view);
      }
    });
  }

  /** The last reading; undefined: there was no need for one. */
  of(node: string): PowerReading | undefined {
    return this.#readings.get(node);
  }

  async #read({ name, record }: NodeView): Promise<void> {
    const { env, term } = this.options;
    this.#busy.add(name);
    const startedAtMs = env.clock.nowMs();
    const told: string[] = [];
    let state: PowerState | undefined;
    for (const device of env.bmcs.devices(name)) {
      try {
        const call = { deadlineMs: READ_LIMIT_MS, signal: term.ended };
        state = await readOwnPower(device, record.hostUuid, call);
        told.push(`${nameOf(device)} reads ${state}`);
        break;
      } catch (error) {
        told.push(wordsOf(error));
      }
    }
    this.#readings.set(name, { state, startedAtMs, endedAtMs: env.clock.nowMs(), detail: told.join('; ') });
    this.#busy.delete(name);
  }
}

/** A device as people know it. */
export function nameOf({ kind, address }: PowerDevice): string {
  return `${kind} ${address}`;
}

/** The power of the host with this UUID. Rejects where the device is a BMC that is another host's, or nobody's. */
export async function readOwnPower(device: PowerDevice, hostUuid: string, call: CallLimit): Promise<PowerState> {
  await checkOwner(device, hostUuid, call);
  return await device.powerState(call);
}

/** Switching off the wrong machine is worse than switching off none. */
export async function checkOwner(device: PowerDevice, hostUuid: string, call: CallLimit): Promise<void> {
  if (!isBmc(device)) return;
  const guid = await device.guid(call);
  if (guid === undefined) throw new Error(`${nameOf(device)} has no GUID: nothing proves whose power it switches`);
  if (isGuidOf(guid, device.expectedGuid ?? hostUuid)) return;
  throw new Error(`${nameOf(device)} has the GUID ${guid}, and should have ${device.expectedGuid ?? hostUuid}`);
}
