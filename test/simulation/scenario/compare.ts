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
export function differences(scenario: Scenario, outcome: Outcome): string[] {
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
    const ours = outcome.recoveries.find(({ vm, from }) => vm === theirs.vm && from === theirs.from);
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
 * Where nothing forces the node, another one is as good if it has as few running VMs. Forced: where it was at the
 * start, and where somebody sent it.
 */
function asGood(scenario: Scenario, { final }: Outcome, vm: string): boolean {
  const theirs = scenario.expect?.final[vm];
  const ours = final[vm];
  if (theirs === undefined || ours === undefined) return false;
  const sent = scenario.timeline.some((step) => step.vm === vm && step.to === theirs.node);
  if (sent || scenario.vms[vm]?.node === theirs.node || scenario.vms[vm]?.node === ours.node) return false;
  const running = (of: Outcome['final'], node: string): number =>
    Object.entries(of).filter(([name, each]) => name !== vm && each.node === node && each.state === 'RUNNING').length;
  return running(final, ours.node) <= running(scenario.expect?.final ?? {}, theirs.node);
}
