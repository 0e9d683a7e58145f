// SPDX-License-Identifier: Apache-2.0
import type { Domain, DomainUsage, HypervisorInfo } from '../platform/hypervisor/hypervisor.js';
import type { HostMemory } from '../platform/host/host.js';
import { Collector, type Freshness, type Pass } from './collector.js';
import { nodeFigures, type Figures } from './figures.js';
import type { VmNotes } from './memory-document.js';
import type { AgentParts } from './parts.js';

/**
 * What was last collected of this node. Reading it never waits; each collector fills its own part and none delays
 * another. The hypervisor is listed again whenever it reports a change, and at every tick.
 */
export class NodeView {
  domains: ReadonlyMap<string, Domain> = new Map();
  usage: ReadonlyMap<string, DomainUsage> = new Map();
  host: HostMemory | undefined;
  load = 0;
  info: HypervisorInfo | undefined;
  readonly vms: Collector<Domain[]>;
  readonly usages: Collector<DomainUsage[]>;
  readonly hosts: Collector<{ memory: HostMemory; load: number }>;
  /** Of what they were worked out, and what came of it. */
  #figures: { of: readonly unknown[]; figures: Figures } | undefined;
  readonly #collectors: readonly { freshness(): Freshness }[];

  constructor(
    private readonly parts: AgentParts,
    onChange: () => void,
    /** Those that fill something else. */
    others: readonly { freshness(): Freshness }[] = [],
  ) {
    const { hypervisor, host, clock, log } = parts.env;
    const onPass = (pass: Pass): void => {
      parts.metrics.collected(pass);
      onChange();
    };
    const common = { clock, limitMs: parts.timing.collectorLimitMs, signal: parts.stopped, onPass };
    this.vms = new Collector({
      ...common,
      name: 'vms',
      log: log.child('keepalive/vms'),
      collect: async (call) => {
        this.info ??= await hypervisor.info(call);
        return hypervisor.list(call);
      },
      apply: (domains) => {
        this.domains = new Map(domains.map((domain) => [domain.uuid, domain]));
      },
    });
    this.usages = new Collector({
      ...common,
      name: 'usage',
      log: log.child('keepalive/usage'),
      collect: (call) => hypervisor.usage(call),
      apply: (usages) => {
        this.usage = new Map(usages.map((usage) => [usage.uuid, usage]));
      },
    });
    this.hosts = new Collector({
      ...common,
      name: 'host',
      log: log.child('keepalive/host'),
      collect: async () => ({ memory: await host.memory(), load: await host.load() }),
      apply: ({ memory, load }) => {
        this.host = memory;
        this.load = load;
      },
    });
    this.#collectors = [this.vms, this.usages, this.hosts, ...others];
  }

  freshness(): Freshness[] {
    return this.#collectors.map((collector) => collector.freshness());
  }

  figures(): Figures {
    const { memory } = this.parts;
    const of = [this.domains, this.host, this.load, this.info, memory.revision];
    if (this.#figures?.of.every((each, place) => each === of[place]) !== true) this.#figures = { of, figures: this.#workOut() };
    return this.#figures.figures;
  }

  #workOut(): Figures {
    const { memory } = this.parts;
    const notes = new Map<string, Readonly<VmNotes>>(memory.vmIds().map((vmId) => [vmId, memory.notes(vmId)]));
    const { domains, host, load, info } = this;
    return nodeFigures({ domains: domains.values(), notes, host, cpus: info?.cpus ?? 0, load });
  }
}
