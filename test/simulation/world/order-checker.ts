// SPDX-License-Identifier: Apache-2.0
import { LeaderRole, type OrderHeader } from '@lockstep/sdk/v1';
import type { Life } from './life.js';
import type { Violations } from './violations.js';

/** What an agent has promised on its disk. */
interface Promises {
  leaderEpochs: Readonly<Record<string, string>>;
}

/**
 * INV-4 at the agents, from outside: once an epoch is on an agent's disk no order or question of a lower one is
 * answered, and none that was meant for an earlier life of it.
 */
export class OrderChecker {
  /** Which life of an agent joined with which incarnation. */
  readonly #joined = new Map<string, string>();

  constructor(
    private readonly violations: Violations,
    private readonly promisesOf: (node: string) => Promises | undefined,
  ) {}

  joined(node: string, incarnation: bigint, life: Life): void {
    if (life.site === node) this.#joined.set(`${node}/${String(incarnation)}`, life.name);
  }

  /** Looks at a request as it arrives; what is returned is called if it is answered and not refused. */
  arrives({ name, site }: Life, method: string, request: unknown): (() => void) | undefined {
    const { header } = request as { header?: OrderHeader };
    if (header === undefined || header.leaderRole === LeaderRole.UNSPECIFIED) return undefined;
    const role = header.leaderRole === LeaderRole.FENCER ? 'fencer' : 'scheduler';
    const kept = BigInt(this.promisesOf(site)?.leaderEpochs[role] ?? '0');
    const meant = this.#joined.get(`${site}/${String(header.incarnation)}`);
    if (header.leaderEpoch < kept) {
      return () => {
        this.violations.report('INV-4', `${name} answered ${method} of the ${role} of epoch ${String(header.leaderEpoch)}, and had kept ${String(kept)}`);
      };
    }
    // Whoever only watches may have come before the news of a new life.
    if (meant === undefined || meant === name || method === 'watchNode') return undefined;
    return () => {
      this.violations.report('INV-4', `${name} answered ${method}, which was meant for ${meant}`);
    };
  }
}
