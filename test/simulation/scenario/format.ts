// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';

/** What shall become of a VM, in a scenario's words. */
export const DESIRED = ['RUNNING', 'STOPPED', 'DISABLED', 'UNMANAGED', 'ERROR'] as const;
export type Desired = (typeof DESIRED)[number];

/** How a VM misbehaves. */
export interface VmFaults {
  start_fails_before_success?: number;
  migrate_fails_before_success?: number;
  stop_fails?: boolean;
  /** The only node on which it does. */
  faulty_only_on?: string;
}

export interface ScenarioVm {
  node: string;
  desired: Desired;
  max_restart?: number;
  max_relocate?: number;
  failback?: boolean;
  memory_mib?: number;
  vcpus?: number;
  faults?: VmFaults;
}

/** What happens when; times are virtual seconds. */
export interface Step {
  at: number;
  do: string;
  node?: string;
  vm?: string;
  to?: string;
  desired?: Desired;
  mode?: string;
  operation?: string;
  fails?: boolean;
  timeout_s?: number;
}

export interface Recovery {
  at: number;
  vm: string;
  from: string;
  to: string;
}

/** A case with a known outcome. */
export interface Scenario {
  name: string;
  nodes: Readonly<Record<string, { memory_mib?: number; cpus?: number }>>;
  vms: Readonly<Record<string, ScenarioVm>>;
  rules: readonly unknown[];
  options: { ha?: { shutdown_policy?: string }; crs?: unknown };
  timeline: readonly Step[];
  end: number;
  /** Undefined: a story to tell, with nothing to compare. */
  expect?: {
    fenced: readonly string[];
    /** Those whose fencing was begun within the case. */
    fence_requested?: readonly string[];
    recoveries: readonly Recovery[];
    final: Readonly<Record<string, { state: string; node: string }>>;
  };
}

const STEPS: Readonly<Record<string, readonly (keyof Step)[]>> = {
  boot: ['node'],
  crash: ['node'],
  heal: ['node'],
  isolate: ['node'],
  shutdown: ['node'],
  reboot: ['node'],
  restart_agent: ['node'],
  store_fault: ['node', 'operation', 'fails'],
  maintenance_on: ['node'],
  maintenance_off: ['node'],
  disarm: ['mode'],
  arm: [],
  stop_scheduler: [],
  migrate: ['vm', 'to'],
  relocate: ['vm', 'to'],
  stop_vm: ['vm', 'timeout_s'],
  set_desired: ['vm', 'desired'],
  define: ['vm', 'node', 'desired'],
  undefine: ['vm'],
  leave_lock: ['vm'],
  moved_behind_back: ['vm', 'to'],
  set_load: ['vm'],
};

/** Reads a scenario; fails with a sentence that names the place where it is not one. */
export function readScenario(file: string): Scenario {
  let scenario: Partial<Scenario>;
  try {
    scenario = JSON.parse(readFileSync(file, 'utf8')) as Partial<Scenario>;
  } catch (error) {
    throw new Error(`${file}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
  const wrong = (place: string, want: string): never => {
    throw new Error(`${file}: ${place}: want ${want}`);
  };
  const { name, nodes, vms, timeline, end, rules = [], options = {}, expect } = scenario;
  if (typeof name !== 'string' || name === '') return wrong('name', 'a text');
  if (nodes === undefined || Object.keys(nodes).length === 0) return wrong('nodes', 'at least one');
  if (vms === undefined) return wrong('vms', 'an object, name to VM');
  if (typeof end !== 'number') return wrong('end', 'seconds');
  if (!Array.isArray(timeline)) return wrong('timeline', 'a list of steps');
  const steps = timeline as Step[];
  const named = new Set([...Object.keys(vms), ...steps.filter((step) => step.do === 'define').map(({ vm = '' }) => vm)]);
  for (const [vm, { node, desired }] of Object.entries(vms)) {
    if (!Object.hasOwn(nodes, node)) wrong(`vms.${vm}.node`, `a node of this scenario, got ${node}`);
    if (!DESIRED.includes(desired)) wrong(`vms.${vm}.desired`, DESIRED.join(' | '));
  }
  for (const [index, step] of steps.entries()) {
    const place = `timeline[${String(index)}]`;
    const needs = STEPS[step.do] ?? wrong(`${place}.do`, Object.keys(STEPS).join(' | '));
    if (typeof step.at !== 'number') wrong(`${place}.at`, 'seconds');
    for (const need of needs) if (step[need] === undefined) wrong(`${place}.${need}`, `a value, for ${step.do}`);
    for (const node of [step.node, step.to]) if (node !== undefined && !Object.hasOwn(nodes, node)) wrong(place, `a known node, got ${node}`);
    if (step.vm !== undefined && !named.has(step.vm)) wrong(`${place}.vm`, `a known VM, got ${step.vm}`);
  }
  return { name, nodes, vms, rules, options, timeline: steps, end, ...(expect === undefined ? {} : { expect }) };
}

/** Nodes that are found fenced without their fencing having been begun in the case: it was under way when the case began. */
export function fencedFromTheStart({ expect }: Scenario): string[] {
  const begun = expect?.fence_requested;
  return begun === undefined ? [] : (expect?.fenced ?? []).filter((node) => !begun.includes(node));
}

/**
 * VMs that shall run and end in an error although nothing in the case lets them fail: they were in it when the case began,
 * their limits used up.
 */
export function inErrorFromTheStart({ expect, vms }: Scenario): string[] {
  return Object.entries(vms)
    .filter(([name, { desired, faults }]) => desired === 'RUNNING' && faults === undefined && expect?.final[name]?.state === 'ERROR')
    .map(([name]) => name);
}

/** Why a scenario cannot be played yet; undefined: it can. */
export function notSupported({ rules, options, timeline }: Scenario): string | undefined {
  if (rules.length > 0) return 'placement rules';
  if (options.crs !== undefined) return 'balancing options (crs)';
  if (timeline.some((step) => step.do === 'set_load')) return 'loads of VMs';
  return undefined;
}
