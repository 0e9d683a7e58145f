// SPDX-License-Identifier: Apache-2.0
import {
  Fenceability,
  NodeConditionType,
  NodeJudgement,
  NodeMode,
  type Node,
  type NodeCeph,
  type NodeCondition,
  type NodeLeaving,
  type SelfFence,
  type VmReport,
} from '@lockstep/sdk/v1';
import { durationOf } from '../core/duration.js';
import { MAIN_NETWORK } from '../core/records/keys.js';
import type { Finding } from '../core/fencing/bmc-check.js';
import type { NodeNetworks } from './networks.js';
import type { AgentParts } from './parts.js';
import type { Reconciler } from './reconcile.js';
import { absentDomain, vmReport } from './reports.js';
import type { NodeView } from './view.js';

/** Where the agent stands with the cluster. */
export interface Standing {
  incarnation: bigint | undefined;
  hostUuid: string;
  /** Why it has not joined; empty once it has. */
  notJoined: string;
  /** Why the lease is not held; empty where it is. */
  storeLost: string;
}

/** Held up for longer, the event loop endangers heartbeats. */
const LAG_LIMIT_MS = 1_000;

/** The node as its agent presents it, put together from what is there: never waits for anything. */
export class NodePresence {
  /** How long the event loop was held up, at worst, since the tick before the last. */
  lagMs = 0;
  readonly #since = new Map<NodeConditionType, Date>();

  constructor(
    private readonly parts: AgentParts,
    private readonly view: NodeView,
    private readonly reconciler: Reconciler,
    private readonly asked: {
      standing: () => Standing;
      /** How it fences itself, as it is armed now. */
      selfFence: () => SelfFence;
      /** What was found of the own BMC. */
      fencing: () => Finding;
      /** Its word that the host goes down. */
      leaving: () => NodeLeaving | undefined;
      networks: Pick<NodeNetworks, 'networks' | 'bridges' | 'trouble'>;
      ceph: () => NodeCeph | undefined;
    },
  ) {}

  node(): Node {
    const { config } = this.parts;
    const standing = this.asked.standing();
    const fencing = this.asked.fencing();
    const leaving = this.asked.leaving();
    const { memory, cpu, vmsRunning, vmsTotal } = this.view.figures();
    const notReadyReason = this.#notReady(standing);
    return {
      name: config.node,
      hostUuid: standing.hostUuid,
      address: config.address,
      incarnation: standing.incarnation ?? 0n,
      mode: NodeMode.UNSPECIFIED,
      judgement: leaving === undefined ? NodeJudgement.UNSPECIFIED : NodeJudgement.LEAVING,
      judgementDetail: '',
      fencedBy: '',
      ready: notReadyReason === '',
      notReadyReason,
      conditions: this.#conditions(standing, memory.provisionedBytes > memory.totalBytes && memory.totalBytes > 0n),
      figures: {
        memory,
        cpu,
        vmsRunning,
        vmsTotal,
        ages: this.view.freshness().map(({ collector, ageMs, failure }) => ({
          collector,
          age: ageMs === undefined ? undefined : durationOf(ageMs),
          failure,
        })),
      },
      heartbeatAge: undefined,
      fenceability: fencing.fenceability,
      fenceabilityDetail: fencing.detail,
      labels: { ...config.labels },
      agentVersion: config.version,
      hypervisorVersion: this.view.info?.version ?? '',
      etag: '',
      leaving,
      networks: this.asked.networks.networks(),
      bridges: this.asked.networks.bridges(),
      ceph: this.asked.ceph(),
      addressNetwork: config.addressNetwork ?? MAIN_NETWORK,
      furtherAddresses: (config.furtherAddresses ?? []).map((each) => ({ ...each })),
      selfFence: this.asked.selfFence(),
      steady: false,
      powerDistrust: '',
      hostAddresses: [...this.parts.env.host.addresses()],
    };
  }

  vms(): VmReport[] {
    const { memory, config } = this.parts;
    const ageMs = this.view.vms.freshness().ageMs ?? 0;
    const { domains } = this.view;
    // What could not even be defined has no domain to show why.
    const absent = this.reconciler
      .failing()
      .filter(({ vmId }) => !domains.has(vmId))
      .map(({ vmId, placementEpoch }) => absentDomain(vmId, memory.notes(vmId), placementEpoch));
    return [...domains.values(), ...absent].map((domain) =>
      vmReport({
        node: config.node,
        domain,
        usage: this.view.usage.get(domain.uuid),
        notes: memory.notes(domain.uuid),
        known: this.reconciler.knownBetter(domain.uuid),
        ageMs,
      }),
    );
  }

  #notReady({ notJoined, storeLost }: Standing): string {
    if (notJoined !== '') return `NOT_JOINED: ${notJoined}`;
    if (storeLost !== '') return `STORE_LOST: ${storeLost}`;
    const { ageMs, failure } = this.view.vms.freshness();
    if (failure !== '') return `HYPERVISOR_DOWN: ${failure}`;
    return ageMs === undefined ? 'its VMs have not been listed yet' : '';
  }

  #conditions(standing: Standing, overprovisioned: boolean): NodeCondition[] {
    const { fenceability, detail: fencing } = this.asked.fencing();
    const late = this.view.freshness().filter(({ failure }) => failure !== '');
    const down = late.find(({ collector }) => collector === 'vms');
    const holds: [NodeConditionType, string][] = [
      [NodeConditionType.LIBVIRT_DOWN, down?.failure ?? ''],
      [NodeConditionType.STORE_LOST, standing.notJoined === '' ? standing.storeLost : standing.notJoined],
      [NodeConditionType.COLLECTOR_LATE, late.map(({ collector, failure }) => `${collector}: ${failure}`).join('; ')],
      [NodeConditionType.OVERPROVISIONED, overprovisioned ? 'more memory is provisioned than the node has' : ''],
      [NodeConditionType.BMC_NOT_FENCEABLE, fenceability === Fenceability.NOT_FENCEABLE ? fencing : ''],
      [NodeConditionType.NETWORK_BROKEN, this.asked.networks.trouble()],
      [NodeConditionType.LOOP_LAG, this.lagMs > LAG_LIMIT_MS ? `the event loop was held up for ${String(Math.round(this.lagMs))} ms` : ''],
    ];
    return holds.flatMap(([type, detail]) => {
      if (detail === '') {
        this.#since.delete(type);
        return [];
      }
      const since = this.#since.get(type) ?? this.parts.env.clock.wallTime();
      this.#since.set(type, since);
      return [{ type, detail, since }];
    });
  }
}
