// SPDX-License-Identifier: Apache-2.0
import type { Node } from '@lockstep/sdk/v1';
import { nodeCodec } from '../core/records/codec.js';
import { keys } from '../core/records/keys.js';
import { readEntry, retryLost } from '../membership/ledger.js';
import type { NodeView } from '../membership/node-streams.js';
import { wordsOf } from './sight/looks.js';
import type { FencerLeading } from './leading.js';

/** Ready for so long since it joined, a node counts as steady: its silence may be judged by fewer throws. */
const STEADY_AFTER_MS = 60_000;

/** What only the Fencer writes into a node's record. */
type Marks = Partial<Pick<Node, 'steady' | 'powerDistrust'>>;

/** Marks the present life of a node; nothing is written where it joined again meanwhile, or is gone. */
export async function markNode({ env, ledger }: Pick<FencerLeading, 'env' | 'ledger'>, of: Pick<Node, 'name' | 'incarnation'>, marks: Marks): Promise<void> {
  await retryLost(env, async () => {
    const key = keys.node(of.name);
    const entry = await readEntry(env, key);
    if (entry === undefined) return;
    const record = nodeCodec.decode(entry.value, entry.index);
    if (record.incarnation !== of.incarnation) return;
    const value = nodeCodec.encode({ ...record, ...marks });
    await ledger.write([{ op: 'cas', key, value, index: entry.index }]);
  });
}

/** Notes durably which nodes have been ready for a minute, so that the next leader knows it, too. */
export class SteadyMarks {
  readonly #readySince = new Map<string, { incarnation: bigint; sinceMs: number }>();
  readonly #writing = new Set<string>();

  constructor(private readonly leading: Pick<FencerLeading, 'env' | 'ledger' | 'term'>) {}

  /** At each look, with whether the node is alive and ready now. */
  note({ name, record }: NodeView, isReady: boolean): void {
    const { env, term } = this.leading;
    const { incarnation } = record;
    if (!isReady) {
      this.#readySince.delete(name);
      return;
    }
    const nowMs = env.clock.nowMs();
    const since = this.#readySince.get(name);
    if (since?.incarnation !== incarnation) {
      this.#readySince.set(name, { incarnation, sinceMs: nowMs });
      return;
    }
    if (record.steady || nowMs - since.sinceMs < STEADY_AFTER_MS || this.#writing.has(name) || term.ended.aborted) return;
    this.#writing.add(name);
    markNode(this.leading, record, { steady: true })
      .catch((error: unknown) => {
        env.log.debug(`${name} could not be marked as steady; it is tried again`, { error: wordsOf(error) });
      })
      .finally(() => this.#writing.delete(name));
  }
}
