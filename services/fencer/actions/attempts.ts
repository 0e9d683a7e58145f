// SPDX-License-Identifier: Apache-2.0
import type { FenceAttempt } from '@lockstep/sdk/v1';
import { durationOf } from '../../core/duration.js';
import type { FencerLeading } from '../leading.js';

type Leader = Pick<FencerLeading, 'env' | 'term'>;

/** What is tried now, and what it will have been. */
export interface Trying {
  begun: FenceAttempt;
  ended: (proven: boolean, detail: string) => FenceAttempt;
}

/** An attempt that begins at this moment; `observer` is empty where the leader itself tries. */
export function tryNow({ env, term }: Leader, rung: string, device: string, observer = ''): Trying {
  const startedAtMs = env.clock.nowMs();
  const begun: FenceAttempt = {
    ...{ rung, device, observer, leaderEpoch: term.leaderEpoch, startTime: env.clock.wallTime() },
    ...{ duration: undefined, proven: false, detail: 'begun' },
  };
  return {
    begun,
    ended: (proven, detail) => ({ ...begun, proven, detail, duration: durationOf(env.clock.nowMs() - startedAtMs) }),
  };
}

/** The attempts with what came of the one that was begun. */
export function replaced(attempts: readonly FenceAttempt[], { begun }: Trying, ended: FenceAttempt): FenceAttempt[] {
  const isIt = ({ rung, startTime, leaderEpoch }: FenceAttempt): boolean =>
    rung === begun.rung && leaderEpoch === begun.leaderEpoch && startTime?.getTime() === begun.startTime?.getTime();
  return attempts.map((attempt) => (isIt(attempt) ? ended : attempt));
}
