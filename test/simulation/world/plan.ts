// SPDX-License-Identifier: Apache-2.0
import { createVirtualClock } from '@lockstep/services/platform/clock/virtual.js';
import { Chance } from './chance.js';

/** What can go wrong, and what each name stands for. */
export const FAULTS = {
  crash: 'processes are killed and start again',
  points: 'processes are killed or stand still exactly at a named point of their code',
  pause: 'processes stand still for a while (SIGSTOP, a long collection of garbage)',
  restart: 'processes are closed in order and start again',
  partition: 'links are cut, some in one direction only',
  slow: 'messages take long, and overtake one another',
  broken: 'connections break under a request or under its answer',
  doubled: 'orders to agents arrive twice',
  'store-down': 'the store has no leader for a while',
  'store-unknown': 'writes have an outcome that nobody tells, some happen late',
  'store-stale': 'reads that may be stale are, and blocking queries answer early',
  session: 'sessions of the store end before their time',
  daemon: 'hypervisors\' own processes are killed, or hang',
  hypervisor: 'calls to hypervisors fail, with or without having been done',
  link: 'the links that carry memory are cut',
  guest: 'guests die of themselves',
  power: 'hosts lose their power and boot again',
  clock: 'clocks go at different speeds, wall clocks jump',
  commit: 'the moment in which a guest begins to run on its target is struck',
  overlap: 'leaders stand still in the middle of a step until another has followed them, and go on',
  repeat: 'operators send their requests twice',
  fencing: 'hosts have BMCs, and the Fencer switches off what is dead',
  bmc: 'BMCs do not answer, hang, refuse the password, or do not do what they are told, and their hosts are cut off meanwhile',
  tight: 'hosts have hardly more memory than the VMs need',
  upkeep: 'people look after the hosts: maintenance, drains, options, networks, disarming, watching',
  shutdown: 'hosts go down in order, and come back',
  watchdog: 'hosts fence themselves by a watchdog',
  'disk-full': 'disks of hosts are full: nothing can be defined there',
  'user-pause': 'users pause guests behind the agents\' backs, and resume them',
  'by-hand': 'people step in: they fence, say who is off and where a guest is, cycle the power, let the cluster adopt guests',
  'few-tries': 'VMs are to be started only a few times, and elsewhere then',
  crowd: 'many moves are wanted at once, some before others, and limits change',
} as const;

export type Fault = keyof typeof FAULTS;

export const ALL_FAULTS = Object.keys(FAULTS) as Fault[];

/** What chance alone hits too rarely: half of all seeds aim at some of it. */
const AIMED: readonly Fault[] = ['commit', 'overlap', 'repeat', 'fencing', 'bmc', 'tight'];

/** What people do to hosts, and hosts to themselves. */
const TENDED: readonly Fault[] = ['upkeep', 'shutdown', 'watchdog'];

/** What else happens to hosts and guests. */
const STRAY: readonly Fault[] = ['disk-full', 'user-pause'];

/** What people do who step in, and VMs that are not tried for ever. */
const STEPPED_IN: readonly Fault[] = ['by-hand', 'few-tries'];

/** What leaves every process, link and host alone. */
const CALM: readonly Fault[] = ['repeat', 'tight', 'crowd'];

export function isCalm({ faults }: Pick<Plan, 'faults'>): boolean {
  return faults.every((fault) => CALM.includes(fault));
}

/** What one run is like. Everything follows from the seed, unless it was given. */
export interface Plan {
  seed: number;
  nodes: number;
  schedulers: number;
  fencers: number;
  /** VMs there are at most. */
  vms: number;
  operators: number;
  /** Between two wishes of one operator, on average. */
  thinkMs: number;
  /** How long wishes and faults go on; then everything must come to rest. */
  safetyMs: number;
  /** Within this virtual time. */
  livenessMs: number;
  faults: readonly Fault[];
  /** Between two strikes of the nemesis, on average. */
  strikeMs: number;
  /** Bytes per second between hosts. */
  linkBytesPerSecond: number;
  hostMemoryBytes: bigint;
}

/** What a person can say of a run. */
export type PlanOptions = Partial<Pick<Plan, 'nodes' | 'vms' | 'faults' | 'safetyMs' | 'schedulers'>>;

const MINUTE_MS = 60_000;
const HOST_MEMORY_BYTES = 16n * 2n ** 30n;
const TIGHT_MEMORY_BYTES = 6n * 2n ** 30n;
const CROWDED_MEMORY_BYTES = 64n * 2n ** 30n;
const BUSY_THINK_MS = 4_000;
const LIVENESS_MS = 20 * MINUTE_MS;

/** Swarm testing: every seed draws its own cluster, its own work and its own few faults. */
export function planOf(seed: number, options: PlanOptions = {}): Plan {
  const chance = new Chance(`${String(seed)}/plan`, createVirtualClock());
  const share = chance.pick([0.1, 0.25, 0.4, 0.6]) ?? 0;
  const apart = new Set<Fault>([...AIMED, ...TENDED, ...STRAY, ...STEPPED_IN, 'crowd']);
  const drawn = ALL_FAULTS.filter((fault) => !apart.has(fault) && chance.hit(share));
  // A stream of their own: what was drawn before them stays as it was.
  const aims = new Chance(`${String(seed)}/aims`, createVirtualClock());
  const aimed = aims.hit(0.5) ? AIMED.filter(() => aims.hit(0.5)) : [];
  const tending = new Chance(`${String(seed)}/tended`, createVirtualClock());
  const tended = tending.hit(0.4) ? TENDED.filter(() => tending.hit(0.5)) : [];
  const strays = new Chance(`${String(seed)}/stray`, createVirtualClock());
  const stray = STRAY.filter(() => strays.hit(0.15));
  const stepping = new Chance(`${String(seed)}/stepped-in`, createVirtualClock());
  const steppedIn = STEPPED_IN.filter(() => stepping.hit(0.15));
  // Where nothing can be fenced there is little to step into.
  if (steppedIn.includes('by-hand') && stepping.hit(0.6) && !aimed.includes('fencing')) aimed.push('fencing');
  if (steppedIn.includes('few-tries') && !drawn.includes('guest')) drawn.push('guest');
  const plan: Plan = {
    seed,
    nodes: chance.whole(2, 5),
    schedulers: chance.whole(1, 3),
    fencers: chance.whole(0, 2),
    vms: chance.whole(1, 6),
    operators: chance.whole(1, 3),
    thinkMs: chance.between(1_000, 12_000),
    safetyMs: chance.between(1.5, 5) * MINUTE_MS,
    livenessMs: LIVENESS_MS,
    faults: [...drawn, ...aimed, ...tended, ...stray, ...steppedIn],
    strikeMs: chance.between(3_000, 25_000),
    linkBytesPerSecond: chance.pick([30e6, 125e6, 1_250e6]) ?? 125e6,
    hostMemoryBytes: aimed.includes('tight') ? TIGHT_MEMORY_BYTES : HOST_MEMORY_BYTES,
  };
  if (aimed.includes('overlap')) plan.schedulers = Math.max(2, plan.schedulers);
  if (aimed.includes('fencing')) plan.fencers = Math.max(1, plan.fencers);
  // An aim that is not aimed at anything would hit nothing.
  if (aimed.includes('commit')) plan.thinkMs = Math.min(plan.thinkMs, BUSY_THINK_MS);
  return { ...crowded(plan), ...options };
}

/** In one seed of eight a queue is filled; in half of these nothing else happens, so that its order can be told. */
function crowded(plan: Plan): Plan {
  const chance = new Chance(`${String(plan.seed)}/crowded`, createVirtualClock());
  if (!chance.hit(0.125)) return plan;
  const faults: Fault[] = chance.hit(0.5) ? ['crowd'] : [...plan.faults, 'crowd'];
  const [nodes, vms] = [Math.max(3, plan.nodes), chance.whole(7, 12)];
  return { ...plan, faults, nodes, vms, thinkMs: Math.min(plan.thinkMs, BUSY_THINK_MS), hostMemoryBytes: CROWDED_MEMORY_BYTES };
}
