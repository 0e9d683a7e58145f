// SPDX-License-Identifier: Apache-2.0
import { NodeCeph } from '@lockstep/sdk/v1';
import type { CephReport } from '../platform/host/ceph.js';
import { Collector } from './collector.js';
import type { AgentParts } from './parts.js';

/** What this node knows of its storage cluster. A host without one has nothing to tell, which is no failure. */
export class NodeStorage {
  readonly collector: Collector<CephReport | undefined>;
  #report: CephReport | undefined;

  constructor({ env, timing, metrics, stopped }: AgentParts, onChange: () => void) {
    this.collector = new Collector({
      name: 'ceph',
      clock: env.clock,
      log: env.log.child('keepalive/ceph'),
      limitMs: timing.cephLimitMs,
      signal: stopped,
      collect: (call) => env.host.ceph.report(call),
      apply: (report) => {
        this.#report = report;
      },
      onPass: (pass) => {
        metrics.collected(pass);
        onChange();
      },
    });
  }

  /** As last heard; undefined: there is none, or it has never answered. */
  ceph(): NodeCeph | undefined {
    if (this.#report === undefined) return undefined;
    const { health, detail, osds, usedBytes, totalBytes } = this.#report;
    return NodeCeph.create({
      health,
      detail,
      osdsTotal: osds.length,
      osdsUp: osds.filter(({ up }) => up).length,
      osdsIn: osds.filter((osd) => osd.in).length,
      osdsDown: osds.filter(({ up }) => !up).map(({ id }) => id),
      usedBytes,
      totalBytes,
    });
  }
}
