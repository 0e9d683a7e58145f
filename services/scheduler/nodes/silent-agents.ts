// SPDX-License-Identifier: Apache-2.0
import type { NodeView } from '../../membership/node-streams.js';
import type { Leading } from '../term.js';

const LOOK_EVERY_MS = 2_000;
const LIMIT_MS = 3_000;

/**
 * Keeps `leading.silentAgents`: nodes whose agent has lost its lease and says nothing, while the store's membership
 * counts their hosts among the living. Such a host is no dead one, and nobody fences it; its guests most likely run on.
 * Where the membership cannot be asked, nobody is in it.
 */
export function followSilentAgents({ nodes, env, term, silentAgents }: Pick<Leading, 'nodes' | 'env' | 'term' | 'silentAgents'>): void {
  let isAsking = false;
  const ask = async (silent: readonly string[]): Promise<void> => {
    isAsking = true;
    try {
      const members = await env.store.members({ deadlineMs: LIMIT_MS, signal: term.ended });
      keepOnly(silentAgents, members.filter(({ name, alive }) => alive && silent.includes(name)).map(({ name }) => name));
    } catch {
      silentAgents.clear();
    } finally {
      isAsking = false;
    }
  };
  const look = (): void => {
    if (isAsking || term.ended.aborted || !nodes.loaded()) return;
    const silent = nodes.nodes().filter(isSilent).map(({ name }) => name);
    if (silent.length === 0) silentAgents.clear();
    else void ask(silent);
  };
  const lookAgain = (): void => {
    if (term.ended.aborted) return;
    look();
    env.clock.after(LOOK_EVERY_MS, lookAgain);
  };
  const end = nodes.onChange(look);
  term.ended.addEventListener('abort', end, { once: true });
  lookAgain();
}

function isSilent({ connected, session, record }: NodeView): boolean {
  return !connected && session === undefined && record.fencedBy === '' && record.leaving === undefined;
}

function keepOnly(set: Set<string>, names: readonly string[]): void {
  set.clear();
  for (const name of names) set.add(name);
}
