// SPDX-License-Identifier: Apache-2.0
import { Fenceability, type Node } from '@lockstep/sdk/v1';
import {
  judgeBmc,
  notFenceable,
  unknownFenceability,
  type BmcOwner,
  type Finding,
} from '../core/fencing/bmc-check.js';
import { nodeCodec } from '../core/records/codec.js';
import { keys, nameOf } from '../core/records/keys.js';
import { Cancelled, sleep, withDeadline } from '../platform/clock/clock.js';
import type { CallLimit } from '../platform/hypervisor/hypervisor.js';
import type { Logger } from '../platform/log/log.js';
import type { Bmc } from '../platform/power/power.js';
import type { AgentParts } from './parts.js';

/** What the store tells of a node whose BMC is checked. */
interface Membership {
  hostUuid: string;
  isUp: boolean;
  others: ReadonlyMap<string, string>;
}

/**
 * Checks whether fencing by a BMC would work: of its own node at the start and every few minutes, of any node when it is
 * asked to. Reads only. A node's BMC is asked by one check at a time, since many lock a user out after a few wrong
 * passwords; whoever asks meanwhile gets that check's finding.
 */
export class BmcChecks {
  /** Of the own node, as last found. */
  own: Finding = unknownFenceability('its BMC has not been checked yet');
  readonly #running = new Map<string, Promise<Finding>>();
  readonly #log: Logger;

  constructor(
    private readonly parts: AgentParts,
    /** The own host's UUID; empty as long as it is not known. */
    private readonly ownHostUuid: () => string,
    private readonly onChange: () => void,
  ) {
    this.#log = parts.env.log.child('bmc');
  }

  /** Checks the own node's BMC until the agent stops. Delays nobody and never rejects. */
  async run(): Promise<void> {
    const { env, timing, config, stopped } = this.parts;
    try {
      while (!stopped.aborted) {
        const isKnown = this.ownHostUuid() !== '' || env.bmcs.of(config.node) === undefined;
        if (isKnown) this.#take(await this.check(config.node));
        await sleep(env.clock, isKnown ? timing.bmcCheckEveryMs : timing.tickMs, stopped);
      }
    } catch (error) {
      if (!(error instanceof Cancelled)) this.#log.error('the own BMC is not checked any more', { error });
    }
  }

  /** Not to be able to tell is an answer, not an error. Never rejects but by the agent's end. */
  check(node: string): Promise<Finding> {
    const known = this.#running.get(node);
    if (known !== undefined) return known;
    const running = this.#check(node).finally(() => {
      this.#running.delete(node);
    });
    this.#running.set(node, running);
    return running;
  }

  async #check(node: string): Promise<Finding> {
    const { env, timing, stopped } = this.parts;
    const bmc = env.bmcs.of(node);
    if (bmc === undefined) return unknownFenceability('no BMC is configured for it: nothing can power it off');
    try {
      return await withDeadline(
        env.clock,
        { what: `the check of the BMC at ${bmc.address}`, limitMs: timing.bmcCheckLimitMs, signal: stopped },
        (signal) => this.#ask(node, bmc, { deadlineMs: timing.bmcCheckLimitMs, signal }),
      );
    } catch (error) {
      if (error instanceof Cancelled) throw error;
      return notFenceable(error instanceof Error ? error.message : String(error));
    }
  }

  async #ask(node: string, bmc: Bmc, call: CallLimit): Promise<Finding> {
    const membership = await this.#membership(node);
    if (typeof membership === 'string') return unknownFenceability(membership);
    const owner: BmcOwner = { node, expectedGuid: bmc.expectedGuid, ...membership };
    // One after another: the first failure of the credentials is the last try with them.
    const privilege = await bmc.privilege(call);
    const power = await bmc.powerState(call);
    const guid = await bmc.guid(call);
    return judgeBmc({ privilege, power, guid }, owner);
  }

  /** Of the own node enough is known without the store; of another one nothing, then the answer is why. */
  async #membership(node: string): Promise<Membership | string> {
    const { env, config } = this.parts;
    const isOwn = node === config.node;
    let records: Node[];
    let isUp = isOwn;
    try {
      const { entries } = await env.store.list(keys.nodes, { consistency: 'consistent' });
      records = entries.map(({ key, value, index }) => ({ ...nodeCodec.decode(value, index), name: nameOf(key) }));
      if (!isOwn) isUp = (await env.store.get(keys.alive(node), { consistency: 'consistent' }))?.session !== undefined;
    } catch (error) {
      if (!isOwn) return `its host's UUID is not known here: ${error instanceof Error ? error.message : String(error)}`;
      records = [];
    }
    const hostUuid = isOwn ? this.ownHostUuid() : (records.find(({ name }) => name === node)?.hostUuid ?? '');
    if (hostUuid === '') return "its host's UUID is not known here: it has not joined";
    const others = new Map(records.filter(({ name }) => name !== node).map((record) => [record.name, record.hostUuid]));
    return { hostUuid, isUp, others };
  }

  #take(finding: Finding): void {
    const { fenceability, detail } = finding;
    const isNews = fenceability !== this.own.fenceability || detail !== this.own.detail;
    this.own = finding;
    if (!isNews) return;
    if (fenceability === Fenceability.FENCEABLE) this.#log.ok('fencing this node would work', { detail });
    else this.#log.warn('fencing this node would fail', { why: detail });
    this.onChange();
  }
}
