// SPDX-License-Identifier: Apache-2.0
import type { Network, NodeNetwork } from '@lockstep/sdk/v1';
import { needsOf } from '../core/domain-xml/devices.js';
import { deviceOf } from '../core/networks/devices.js';
import type { Link } from '../core/networks/link.js';
import { describeStep, planNetwork, planProtection, planRemovals, type Step } from '../core/networks/plan.js';
import type { Links } from '../platform/host/links.js';
import type { CallLimit } from '../platform/hypervisor/hypervisor.js';
import type { Logger } from '../platform/log/log.js';
import { Collector } from './collector.js';
import type { AgentParts } from './parts.js';

/** What became of one network in the last pass. */
interface Outcome {
  /** Why it is not as it should be; empty where it is. */
  trouble: string;
  /** What was last done to something that had been as it should be. */
  repaired: string;
}

const AS_IT_SHOULD_BE: Outcome = { trouble: '', repaired: '' };

/**
 * Keeps the host's bridges as the cluster's networks say, by level: each pass looks at all links, does what is missing
 * and says what it had to repair. Until it is told of networks it makes and removes nothing; IPv6 is taken from guests'
 * ends all the same.
 */
export class NodeNetworks {
  readonly collector: Collector<ReadonlyMap<string, Link>>;
  readonly #links: Links;
  readonly #log: Logger;
  /** Undefined: not told yet. */
  #wanted: readonly Network[] | undefined;
  #present: ReadonlyMap<string, Link> = new Map();
  readonly #outcomes = new Map<string, Outcome>();
  /** Networks that were complete at the end of some pass: what is missing of them now was taken away. */
  readonly #complete = new Set<string>();
  #kept = '';

  constructor(
    private readonly parts: AgentParts,
    onChange: () => void,
  ) {
    const { env, timing, metrics, stopped } = parts;
    this.#links = env.host.links;
    this.#log = env.log.child('keepalive/bridges');
    this.collector = new Collector({
      name: 'bridges',
      clock: env.clock,
      log: this.#log,
      limitMs: timing.networkLimitMs,
      signal: stopped,
      collect: (call) => this.#pass(call),
      apply: (present) => {
        this.#present = present;
      },
      onPass: (pass) => {
        metrics.collected(pass);
        onChange();
      },
    });
  }

  /** These are all networks of the cluster. Resolves when a pass has worked towards them; what failed shows in `networks`. */
  async apply(networks: readonly Network[]): Promise<void> {
    this.#wanted = networks;
    for (const name of this.#outcomes.keys()) {
      if (networks.some((network) => network.name === name)) continue;
      this.#outcomes.delete(name);
      this.#complete.delete(name);
    }
    await this.collector.refresh();
  }

  /** Each network as it is here. */
  networks(): NodeNetwork[] {
    return (this.#wanted ?? []).map(({ name, bridge }) => {
      const { trouble, repaired } = this.#outcomes.get(name) ?? { trouble: 'it has not been looked at yet', repaired: '' };
      return { name, bridge, ready: trouble === '', detail: trouble === '' ? repaired : trouble };
    });
  }

  /** Bridges that guests can use now, by name. */
  bridges(): string[] {
    return [...this.#present.values()].filter(isUsable).map(({ name }) => name).sort();
  }

  /** What a person must mend; empty: nothing. */
  trouble(): string {
    const broken = this.networks().filter(({ ready }) => !ready);
    return [...broken.map(({ name, detail }) => `${name}: ${detail}`), this.#kept].filter((text) => text !== '').join('; ');
  }

  /** Why a guest cannot have its interfaces here; undefined: it can. What is missing and can be made is made first. */
  async refusal(domainXml: string): Promise<string | undefined> {
    const { bridges } = needsOf(domainXml);
    if (bridges.length === 0) return undefined;
    if (this.#missing(bridges).length > 0) await this.collector.refresh();
    const missing = this.#missing(bridges);
    return missing.length === 0 ? undefined : missing.map((bridge) => this.#whyMissing(bridge)).join('; ');
  }

  #missing(bridges: readonly string[]): string[] {
    return bridges.filter((bridge) => {
      const link = this.#present.get(bridge);
      return link === undefined || !isUsable(link);
    });
  }

  #whyMissing(bridge: string): string {
    const network = this.networks().find((one) => one.bridge === bridge);
    if (network === undefined) return `there is no bridge ${bridge} here, and no network that has it`;
    return `the bridge ${bridge} of network ${network.name} is not there: ${network.detail}`;
  }

  async #pass(call: CallLimit): Promise<ReadonlyMap<string, Link>> {
    if (await this.#links.protectNew(call)) this.#log.info('new links come to be without IPv6 from now on');
    let present = await this.#look(call);
    const networks = this.#wanted ?? [];
    if (this.#wanted !== undefined) present = await this.#remove(present, call);
    for (const network of networks) present = await this.#bringAbout(network, present, call);
    return await this.#protect(networks, present, call);
  }

  async #look(call: CallLimit): Promise<ReadonlyMap<string, Link>> {
    return new Map((await this.#links.list(call)).map((link) => [link.name, link]));
  }

  async #remove(present: ReadonlyMap<string, Link>, call: CallLimit): Promise<ReadonlyMap<string, Link>> {
    const { steps, kept } = planRemovals(this.#wanted ?? [], present);
    this.#kept = kept.join('; ');
    for (const step of steps) {
      await this.#take(step, call);
      this.#log.info(describeStep(step));
    }
    return steps.length === 0 ? present : await this.#look(call);
  }

  /** What one network lacks hinders no other. */
  async #bringAbout(
    network: Network,
    present: ReadonlyMap<string, Link>,
    call: CallLimit,
  ): Promise<ReadonlyMap<string, Link>> {
    const { name } = network;
    const before = this.#outcomes.get(name) ?? AS_IT_SHOULD_BE;
    const { steps, obstacle } = planNetwork(network, present);
    const done: string[] = [];
    let trouble = obstacle ?? '';
    try {
      for (const step of steps) {
        await this.#take(step, call);
        done.push(describeStep(step));
      }
    } catch (error) {
      if (call.signal?.aborted === true) throw error;
      trouble = error instanceof Error ? error.message : String(error);
    }
    const isRepair = this.#complete.has(name) && (steps.length > 0 || obstacle !== undefined);
    if (isRepair && done.length > 0) this.#repaired(name, done);
    else if (done.length > 0) this.#log.info(`network ${name}: ${done.join(', ')}`);
    if (trouble !== '' && trouble !== before.trouble) this.#log.warn(`network ${name} is not as it should be`, { why: trouble });
    if (trouble === '' && before.trouble !== '') this.#log.ok(`network ${name} is as it should be`);
    const repaired = isRepair && done.length > 0 ? `repaired: ${done.join(', ')}` : before.repaired;
    this.#outcomes.set(name, { trouble, repaired });
    if (trouble === '') this.#complete.add(name);
    return done.length === 0 ? present : await this.#look(call);
  }

  /** Guests' ends come and go; one that has IPv6 was made by somebody who switched the protection off. */
  async #protect(
    networks: readonly Network[],
    present: ReadonlyMap<string, Link>,
    call: CallLimit,
  ): Promise<ReadonlyMap<string, Link>> {
    const steps = planProtection(networks, present);
    for (const step of steps) {
      try {
        await this.#take(step, call);
      } catch (error) {
        // A guest's end may have gone with its guest meanwhile.
        if (call.signal?.aborted === true) throw error;
        this.#log.warn('could not take IPv6 from a link', { error });
        continue;
      }
      this.#repaired(networkAt(step, networks, present), [describeStep(step)]);
    }
    return steps.length === 0 ? present : await this.#look(call);
  }

  #repaired(name: string, done: readonly string[]): void {
    this.#log.warn(name === '' ? 'repaired' : `repaired network ${name}`, { done: done.join(', ') });
    this.parts.metrics.repaired();
    const known = this.#outcomes.get(name);
    if (known !== undefined) this.#outcomes.set(name, { ...known, repaired: `repaired: ${done.join(', ')}` });
  }

  #take(step: Step, call: CallLimit): Promise<void> {
    switch (step.do) {
      case 'make':
        return this.#links.make(step.spec, call);
      case 'ipv6-off':
        return this.#links.disableIpv6(step.link, call);
      case 'mtu':
        return this.#links.setMtu(step.link, step.bytes, call);
      case 'join':
        return this.#links.join(step.link, step.bridge, call);
      case 'up':
        return this.#links.setUp(step.link, call);
      case 'remove':
        return this.#links.remove(step.link, call);
    }
  }
}

function isUsable({ kind, up }: Link): boolean {
  return kind === 'bridge' && up;
}

function networkAt(step: Step, networks: readonly Network[], present: ReadonlyMap<string, Link>): string {
  const link = step.do === 'ipv6-off' ? present.get(step.link) : undefined;
  const network = networks.find((one) => one.bridge === link?.bridge || deviceOf(one) === link?.name);
  return network?.name ?? '';
}
