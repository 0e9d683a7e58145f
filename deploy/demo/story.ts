// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import {
  connect,
  MigrationMode,
  MigrationRole,
  MigrationState,
  MigrationStep,
  VmState,
  type Duration,
  type Lockstep,
  type Migration,
  type MigrationPhase,
} from '@lockstep/sdk';
import { attemptUntil } from './until.js';
import type { CounterReading, Stage } from './stage.js';

const READY_LIMIT_MS = 60_000;
const COUNT_LIMIT_MS = 30_000;
/** About two seconds of counting: enough to see that it goes on. */
const ENOUGH_COUNTS = 36;

export type Say = (line: string) => void;

/** What the story proved; anything in `wrong` makes the demo fail. */
export interface Ending {
  wrong: string[];
}

/** Defines a guest that counts, moves it live, and looks from outside whether it went on counting, once. */
export async function tellStory(stage: Stage, say: Say): Promise<Ending> {
  const [source, target] = stage.nodes;
  const lockstep = connect({ servers: stage.servers });
  const name = `counter-${randomBytes(2).toString('hex')}`;
  try {
    await allReady(lockstep, stage, say);
    await begin(lockstep, stage, name, say);
    const before = stage.counter(name);
    say(`the guest has counted to ${before.value} on ${source}`);

    say(`migrate ${name} to ${target}, live`);
    const migration = await move(lockstep, name, target, say);
    tellSteps(migration, say);

    const after = await countedOn(stage, name, stage.counter(name).value + ENOUGH_COUNTS);
    say(`the guest has counted to ${after.value} on ${target}: ${after.perHost.join(', ')}`);
    const domains = await stage.domains(name);
    say(`the hypervisors themselves say: ${domains.map(({ node, state }) => `${node} ${state}`).join(', ')}`);
    return { wrong: judge({ migration, before, after, target, domains }) };
  } finally {
    await clearAway(lockstep, name, say);
    lockstep.close();
  }
}

async function allReady(lockstep: Lockstep, stage: Stage, say: Say): Promise<void> {
  const nodes = await attemptUntil(`all ${stage.nodes.length} nodes are ready`, READY_LIMIT_MS, async () => {
    const listed = await lockstep.scheduler.listNodes({});
    const unready = listed.nodes.filter(({ ready }) => !ready);
    if (listed.nodes.length < stage.nodes.length) return `${listed.nodes.length} have joined`;
    if (unready.length > 0) return unready.map((node) => `${node.name}: ${node.notReadyReason}`).join('; ');
    return listed.nodes;
  });
  say(`nodes ready: ${nodes.map((node) => `${node.name} (${node.hypervisorVersion})`).join(', ')}`);
}

async function begin(lockstep: Lockstep, stage: Stage, name: string, say: Say): Promise<void> {
  const [source] = stage.nodes;
  const domainXml = await stage.guestXml(name);
  await lockstep.scheduler.defineVm({ spec: { domainXml }, node: source, start: true });
  say(`${name} defined on ${source} and started`);
  await lockstep.waitForVm(name, [VmState.RUNNING]);
  await countedOn(stage, name, ENOUGH_COUNTS);
}

async function countedOn(stage: Stage, name: string, value: number): Promise<CounterReading> {
  return await attemptUntil(`the guest counts to ${value}`, COUNT_LIMIT_MS, () => {
    const reading = stage.counter(name);
    return Promise.resolve(reading.value >= value || reading.broken !== undefined ? reading : `at ${reading.value}`);
  });
}

async function move(lockstep: Lockstep, name: string, target: string, say: Say): Promise<Migration> {
  const { migration } = await lockstep.scheduler.createMigration({
    vm: name,
    targetNode: target,
    mode: MigrationMode.LIVE_ONLY,
  });
  if (migration === undefined) throw new Error('the Scheduler answered without a migration');
  let told = '';
  return await lockstep.waitForMigration(migration.id, {
    onUpdate: ({ state, progress }) => {
      const line =
        progress === undefined || state !== MigrationState.TRANSFERRING
          ? stateName(state)
          : `${stateName(state)}: ${mib(progress.memorySentBytes)} MiB sent, ${mib(progress.memoryRemainingBytes)} MiB left`;
      if (line !== told) say(`  ${line}`);
      told = line;
    },
  });
}

/** Each step of both agents with its time. */
function tellSteps({ phases, outcome }: Migration, say: Say): void {
  const begin = phases[0]?.startTime?.getTime() ?? 0;
  say('  begins    takes     step');
  for (const phase of phases) {
    const offset = `+${(phase.startTime?.getTime() ?? begin) - begin} ms`.padEnd(10);
    say(`  ${offset}${`${ms(phase.duration)} ms`.padEnd(10)}${stepName(phase)}${phase.detail === '' ? '' : `: ${phase.detail}`}`);
  }
  say(`  downtime ${ms(outcome?.downtime)} ms, gap between the end of Transfer and Commit ${ms(outcome?.gap)} ms`);
}

function stepName({ step, side }: MigrationPhase): string {
  const name = Object.entries(MigrationStep).find(([, value]) => value === step)?.[0] ?? String(step);
  switch (side) {
    case MigrationRole.SOURCE:
      return `${name} (source agent)`;
    case MigrationRole.TARGET:
      return `${name} (target agent)`;
    default:
      return `${name} (Scheduler)`;
  }
}

interface Findings {
  migration: Migration;
  before: CounterReading;
  after: CounterReading;
  target: string;
  domains: { node: string; here: boolean; state: string }[];
}

function judge({ migration, before, after, target, domains }: Findings): string[] {
  const wrong: string[] = [];
  if (migration.state !== MigrationState.SUCCEEDED) {
    wrong.push(`the migration ended ${stateName(migration.state)} (${migration.reason}): ${migration.detail}`);
  }
  if (after.broken !== undefined) wrong.push(`the count is broken: ${after.broken}`);
  if (after.value <= before.value) wrong.push(`the count stands at ${after.value}; before the move it was ${before.value}`);
  const holders = domains.filter(({ here }) => here);
  if (holders.length !== 1 || holders[0]?.node !== target || holders[0].state !== 'running') {
    wrong.push(`the guest should run on ${target} alone`);
  }
  return wrong;
}

/** The guest goes, whatever the story came to; what stays is said. */
async function clearAway(lockstep: Lockstep, name: string, say: Say): Promise<void> {
  try {
    await lockstep.scheduler.stopVm({ vm: name, force: true });
    await lockstep.waitForVm(name, [VmState.STOPPED], { patienceMs: COUNT_LIMIT_MS });
    await lockstep.scheduler.undefineVm({ vm: name });
  } catch (error) {
    say(`${name} was not cleared away: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function stateName(state: MigrationState): string {
  return Object.entries(MigrationState).find(([, value]) => value === state)?.[0] ?? String(state);
}

function ms(duration: Duration | undefined): string {
  if (duration === undefined) return '?';
  const value = Number(duration.seconds) * 1000 + duration.nanos / 1e6;
  return value < 10 ? value.toFixed(2) : value.toFixed(0);
}

function mib(bytes: bigint): string {
  return (Number(bytes) / 1_048_576).toFixed(1);
}
