// SPDX-License-Identifier: Apache-2.0
import { LeaderRole, MigrationRole, type OrderHeader, type VmOrder } from '@lockstep/sdk/v1';
import type { Life } from './life.js';
import type { Violations } from './violations.js';

/** Questions that any life of an agent may answer: they change nothing, and nothing follows from them but what they show. */
const LOOKS = ['watchNode', 'checkBmc', 'probe'];

/** What an agent has promised on its disk. */
interface Promises {
  leaderEpochs: Readonly<Record<string, string>>;
}

/**
 * INV-4 at the agents, from outside: nothing is answered before its epoch is on the agent's disk, and from then on no order
 * or question of a lower one, and none that was meant for an earlier life of it.
 */
export class OrderChecker {
  /** Which life of an agent joined with which incarnation. */
  readonly #joined = new Map<string, string>();
  /** The Scheduler's epoch in which a migration's target was last told to commit. */
  readonly #committed = new Map<string, bigint>();

  constructor(
    private readonly violations: Violations,
    private readonly promisesOf: (node: string) => Promises | undefined,
    /** The epoch with which a life of a Scheduler leads. */
    private readonly epochOf: (life: Life) => bigint | undefined,
  ) {}

  joined(node: string, incarnation: bigint, life: Life): void {
    if (life.site === node) this.#joined.set(`${node}/${String(incarnation)}`, life.name);
  }

  /** The life of a node's agent that joined with this incarnation. */
  lifeOf(node: string, incarnation: bigint): string | undefined {
    return this.#joined.get(`${node}/${String(incarnation)}`);
  }

  /** Looks at a request as it arrives; what is returned is called if it is answered and not refused. */
  arrives(life: Life, method: string, request: unknown): (() => void) | undefined {
    const { name, site } = life;
    if (method === 'cancelMigration') return this.#cancel(life, (request as { id: string }).id);
    const { header, order, role: end } = request as { header?: OrderHeader; order?: VmOrder; role?: MigrationRole };
    if (method === 'commit' && end === MigrationRole.TARGET && header !== undefined) {
      this.#committed.set(order?.migrationId ?? '', header.leaderEpoch);
    }
    if (header === undefined || header.leaderRole === LeaderRole.UNSPECIFIED) return undefined;
    const role = header.leaderRole === LeaderRole.FENCER ? 'fencer' : 'scheduler';
    const kept = this.#kept(site, role);
    const meant = this.#joined.get(`${site}/${String(header.incarnation)}`);
    if (header.leaderEpoch < kept) {
      return () => {
        this.violations.report('INV-4', `${name} answered ${method} of the ${role} of epoch ${String(header.leaderEpoch)}, and had kept ${String(kept)}`);
      };
    }
    return () => {
      const keeps = this.#kept(site, role);
      if (keeps < header.leaderEpoch) {
        this.violations.report('INV-4', `${name} answered ${method} of the ${role} of epoch ${String(header.leaderEpoch)}, and keeps ${String(keeps)}`);
      }
      // Whoever only looks may have come before the news of a new life.
      if (meant === undefined || meant === name || LOOKS.includes(method)) return;
      this.violations.report('INV-4', `${name} answered ${method}, which was meant for ${meant}`);
    };
  }

  #kept(node: string, role: 'scheduler' | 'fencer'): bigint {
    return BigInt(this.promisesOf(node)?.leaderEpochs[role] ?? '0');
  }

  /** A cancel is granted only until the leader that grants it has sent the commit. */
  #cancel(life: Life, id: string): (() => void) | undefined {
    const committed = this.#committed.get(id);
    if (committed === undefined || committed !== this.epochOf(life)) return undefined;
    return () => {
      this.violations.report('ACKNOWLEDGED', `${life.name} granted the cancel of migration ${id.slice(-6)}, and had sent its commit`);
    };
  }
}
