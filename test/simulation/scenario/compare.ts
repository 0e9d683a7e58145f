// SPDX-License-Identifier: Apache-2.0
import type { Recovery, Scenario } from './format.js';

/** How a scenario went. Times are its own virtual seconds. */
export interface Outcome {
  name: string;
  fenced: string[];
  final: Record<string, { state: string; node: string }>;
  recoveries: Recovery[];
  violations: string[];
}

/** Where an outcome differs from the one that is known, as sentences; none: they agree. */
export function differences(scenario: Scenario, { outcome, moves }: { outcome: Outcome; moves: readonly Recovery[] }): string[] {
  const { expect } = scenario;
  if (expect === undefined) return outcome.violations;
  const list = (names: readonly string[]): string => (names.length === 0 ? 'no node' : [...names].sort().join(', '));
  const found = [...outcome.violations];
  if (list(outcome.fenced) !== list(expect.fenced)) {
    found.push(`fenced ${list(outcome.fenced)}, there ${list(expect.fenced)}`);
  }
  for (const [vm, theirs] of Object.entries(expect.final)) {
    const ours = outcome.final[vm];
    if (ours === undefined) found.push(`${vm} is gone, there it is ${theirs.state} on ${theirs.node}`);
    else if (ours.state !== theirs.state) found.push(`${vm} is ${ours.state} on ${ours.node}, there ${theirs.state} on ${theirs.node}`);
    else if (ours.node !== theirs.node && !asGood(scenario, outcome, vm)) found.push(`${vm} is on ${ours.node}, there on ${theirs.node}`);
  }
  for (const theirs of expect.recoveries) {
    // Gone from there before the host was off is no later.
    const ours = moves.find(({ vm, from }) => vm === theirs.vm && from === theirs.from);
    if (ours === undefined) found.push(`${theirs.vm} was not recovered from ${theirs.from}`);
    else if (ours.at > theirs.at) found.push(`${theirs.vm} was recovered at ${String(ours.at)} s, there at ${String(theirs.at)} s`);
  }
  for (const { vm, from } of outcome.recoveries) {
    const known = expect.recoveries.some((theirs) => theirs.vm === vm && theirs.from === from);
    if (!known) found.push(`${vm} was recovered from ${from}, there it was not`);
  }
  return found;
}

/**
 * Where nothing forces the node, another one is as good if it has as few running VMs, or if the VMs are spread as evenly.
 * Forced: where somebody sent it, and where it was at the start, unless it failed to start there.
 */
function asGood(scenario: Scenario, { final: ours }: Outcome, vm: string): boolean {
  const theirs = scenario.expect?.final ?? {};
  const [here, there] = [ours[vm]?.node ?? '', theirs[vm]?.node ?? ''];
  const { node: home, faults } = scenario.vms[vm] ?? {};
  const failsToStart = (faults?.start_fails_before_success ?? 0) > 0;
  const sent = scenario.timeline.some((step) => step.vm === vm && step.to === there);
  if (sent || home === there || (home === here && !failsToStart)) return false;
  const [our, their] = [spread(scenario, ours), spread(scenario, theirs)];
  return (our.get(here) ?? 0) <= (their.get(there) ?? 0) || sorted(our) === sorted(their);
}

/** How many VMs run on each node; those that are not told of run where they were. */
function spread({ nodes, vms }: Scenario, final: Outcome['final']): Map<string, number> {
  const counts = new Map(Object.keys(nodes).map((node) => [node, 0]));
  const before = Object.entries(vms).map(([name, { node, desired: state }]) => [name, { node, state }] as const);
  for (const { node, state } of Object.values({ ...Object.fromEntries(before), ...final })) {
    if (state === 'RUNNING') counts.set(node, (counts.get(node) ?? 0) + 1);
  }
  return counts;
}

function sorted(counts: ReadonlyMap<string, number>): string {
  return [...counts.values()].sort((one, other) => one - other).join();
}
