// SPDX-License-Identifier: Apache-2.0

/** What one peer found over one network, probe after probe. */
export interface ProbeTally {
  /** The peer. */
  observer: string;
  network: string;
  /** Probes in a row that got no answer, each answered for by the peer. */
  misses: number;
  /** The peer reached another node over this network lately: it is not its own link that is cut. */
  networkWorks: boolean;
}

/** What must come together before a node is given up earlier than by all its throws. */
export interface AgreementLimits {
  peers: number;
  networks: number;
  /** Consecutive probes, one a second. */
  probes: number;
}

export const AGREEMENT_LIMITS: AgreementLimits = { peers: 2, networks: 2, probes: 5 };

/**
 * Who agrees that a node is gone, in words; undefined: too few. Each peer must have missed it over each of the networks:
 * one that reaches it over any network is a sign of life, and one that could not look is no witness.
 */
export function agreementOf(tallies: readonly ProbeTally[], limits: AgreementLimits = AGREEMENT_LIMITS): string | undefined {
  const witnesses = new Map<string, Set<string>>();
  for (const { observer, network, misses, networkWorks } of tallies) {
    if (misses < limits.probes || !networkWorks) continue;
    witnesses.set(observer, (witnesses.get(observer) ?? new Set()).add(network));
  }
  const agreeing = [...witnesses].filter(([, networks]) => networks.size >= limits.networks);
  if (agreeing.length < limits.peers) return undefined;
  const networks = new Set(agreeing.flatMap(([, each]) => [...each]));
  return `${agreeing.map(([observer]) => observer).join(' and ')} over ${[...networks].join(' and ')}, ${String(limits.probes)} probes in a row each`;
}
