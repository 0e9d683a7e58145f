// SPDX-License-Identifier: Apache-2.0
import { FenceDrill, FenceDrillState } from '@lockstep/sdk/v1';
import { fenceDrillCodec } from '../../core/records/codec.js';
import { keys } from '../../core/records/keys.js';
import { retryLost } from '../../membership/ledger.js';
import type { TxnOp } from '../../platform/store/store.js';
import { replaced, tryNow } from '../actions/attempts.js';
import type { FencerLeading } from '../leading.js';
import { refuseWhileCycled } from './preconditions.js';

/** The last test of each node's ladder, as it is kept for the next leader. Each write checks the leader's session. */
export class DrillJournal {
  constructor(private readonly leading: Pick<FencerLeading, 'env' | 'ledger' | 'term' | 'drills'>) {}

  get(node: string): FenceDrill | undefined {
    return this.leading.drills.get(node)?.record;
  }

  /** Nodes that are being powered off and on. */
  running(): FenceDrill[] {
    return this.leading.drills
      .all()
      .map(({ record }) => record)
      .filter(({ state }) => state === FenceDrillState.RUNNING);
  }

  /** Begins a new record of the node with what was found so far; `ops` go into the same transaction. Never in a power cycle. */
  async begin(drill: Partial<FenceDrill> & Pick<FenceDrill, 'node'>, ops: readonly TxnOp[] = []): Promise<FenceDrill> {
    return await this.#write(drill.node, (before) => {
      refuseWhileCycled(this.leading, drill.node);
      const { lastPassedTime, cycleFailure } = before;
      return FenceDrill.create({ lastPassedTime, cycleFailure, startTime: this.#now(), ...drill });
    }, ops);
  }

  /** Ends it. */
  async end(node: string, state: FenceDrillState, detail: string, more: Partial<FenceDrill> = {}): Promise<FenceDrill> {
    const endTime = this.#now();
    const passed = state === FenceDrillState.PASSED ? { lastPassedTime: endTime } : {};
    return await this.#write(node, (before) => ({ ...before, ...passed, ...more, state, detail, endTime }));
  }

  /** Writes that something is about to be done; the answer says what came of it. */
  async step(node: string, rung: string, device: string): Promise<(works: boolean, detail: string) => Promise<void>> {
    const trying = tryNow(this.leading, rung, device);
    await this.#write(node, (drill) => ({ ...drill, attempts: [...drill.attempts, trying.begun] }));
    return async (works, detail) => {
      const ended = trying.ended(works, detail);
      await this.#write(node, (drill) => ({ ...drill, attempts: replaced(drill.attempts, trying, ended) }));
    };
  }

  async #write(node: string, next: (before: FenceDrill) => FenceDrill, ops: readonly TxnOp[] = []): Promise<FenceDrill> {
    const { env, ledger, drills } = this.leading;
    return await retryLost(env, async () => {
      const stored = drills.get(node);
      const after = next(stored?.record ?? FenceDrill.create({ node }));
      const value = fenceDrillCodec.encode(after);
      const index = await ledger.write([{ op: 'cas', key: keys.fenceDrill(node), value, index: stored?.index ?? 0n }, ...ops]);
      const record = { ...after, etag: index.toString() };
      drills.put(node, { record, index });
      return record;
    });
  }

  #now(): Date {
    return this.leading.env.clock.wallTime();
  }
}
