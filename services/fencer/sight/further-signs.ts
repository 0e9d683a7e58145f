// SPDX-License-Identifier: Apache-2.0
import { EvidenceSource } from '@lockstep/sdk/v1';
import type { Observation, Sign } from '../../core/judgement/facts.js';
import { seconds } from '../../core/judgement/throws.js';
import type { NodeView } from '../../membership/node-streams.js';
import type { Observer, Sights } from './evidence.js';
import type { ProbeSeen } from './peer-probes.js';

/** An answer to a probe is a sign of life for little longer than until the next one. */
const PROBE_FRESH_MS = 2_500;
/** Of what the store's membership answered: asked for once a second where somebody is silent. */
const MEMBERS_FRESH_MS = 8_000;

/** What peers, the store's membership, the Scheduler and the devices tell of a node. */
export function furtherSeen(view: NodeView, observer: Observer, sights: Sights): Observation[] {
  const further = [memberSeen(view, observer, sights), ...sights.probes.map((seen) => probeSeen(seen, observer))];
  const word = schedulerWord(view, observer, sights);
  if (word !== undefined) further.push(word);
  if (sights.power !== undefined) {
    const { state, endedAtMs, detail } = sights.power;
    // Power that is on is no sign of life: a host that hangs has it.
    const sign: Sign = state === 'off' ? 'silent' : 'unknown';
    const source = EvidenceSource.BMC_POWER;
    further.push({ source, observer: observer.name, network: '', sign, ageMs: observer.nowMs - endedAtMs, detail });
  }
  return further;
}

function memberSeen({ name }: NodeView, { name: observer, nowMs }: Observer, { members }: Sights): Observation {
  const { nodes, answeredAtMs, trouble } = members;
  const base = { source: EvidenceSource.SERF, observer, network: '' };
  if (nodes === undefined) return { ...base, sign: 'unknown', ageMs: undefined, detail: trouble };
  const ageMs = nowMs - answeredAtMs;
  const alive = nodes.get(name);
  const said = alive === undefined ? 'not a member' : alive ? 'alive' : 'failed';
  const known: Sign = alive === true ? 'alive' : 'silent';
  const isFresh = ageMs <= MEMBERS_FRESH_MS;
  return { ...base, sign: isFresh ? known : 'unknown', ageMs, detail: isFresh || trouble === '' ? said : `${said}; ${trouble}` };
}

function probeSeen({ observer, network, misses, lastAnswerAtMs, toldAtMs, detail }: ProbeSeen, { nowMs }: Observer): Observation {
  const ageMs = lastAnswerAtMs === undefined ? undefined : nowMs - lastAnswerAtMs;
  const isAlive = ageMs !== undefined && ageMs <= PROBE_FRESH_MS && misses === 0;
  const isTold = toldAtMs !== undefined && nowMs - toldAtMs <= PROBE_FRESH_MS && misses > 0;
  const sign: Sign = isAlive ? 'alive' : isTold ? 'silent' : 'unknown';
  const missed = misses === 0 ? '' : `${String(misses)} in a row missed: `;
  return { source: EvidenceSource.PEER_PROBE, observer, network, sign, ageMs, detail: `${missed}${detail}` };
}

/** The Scheduler's own stream of the same agent: it may be heard where this observer hears nothing. */
function schedulerWord({ name }: NodeView, { nowMs, limits }: Observer, { scheduler }: Sights): Observation | undefined {
  const heardAtMs = scheduler.nodes?.get(name);
  if (heardAtMs === undefined) return undefined;
  const ageMs = nowMs - heardAtMs;
  return {
    source: EvidenceSource.AGENT_STREAM,
    observer: scheduler.by,
    network: '',
    // It is only asked where somebody is silent; that it was not asked again is no silence.
    sign: ageMs <= limits.streamMs ? 'alive' : 'unknown',
    ageMs,
    detail: `its last message there ${seconds(ageMs)} ago`,
  };
}
