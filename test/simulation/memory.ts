// SPDX-License-Identifier: Apache-2.0
import { MigrationMode } from '@lockstep/sdk/v1';
import { countHoldings } from './holdings.js';
import type { Desk } from './world/desk.js';

const NODES = ['n1', 'n2', 'n3'];
const VMS = 3;
/** First rounds fill what is filled once: caches of links, rings of last things. */
const WARM_UP = 3;
/** Entries for each round more, from all processes together, that a place may not pass. */
const GROWTH_A_ROUND = 1;

/** What is kept of the past on purpose, up to a bound that no short run reaches. */
const BY_DESIGN: readonly [site: RegExp, why: string][] = [
  [/^membership\/record-cache\.js/, 'the records themselves: of what has ended 1,000 of a kind, for 30 days'],
  [/^scheduler\/metrics\.js/, 'which of these records have ended'],
  [/^node-agent\/durable-memory\.js/, 'floors, and what is known of the last move here, of every VM that there was: nothing takes them back yet'],
];

/**
 * Lives through the same day again and again: VMs come, move, are stopped and go, leaders lose their sessions, clients
 * watch. What the processes hold at rest must be the same after each. Returns the exit code.
 */
export async function memory(rounds: number, print: (text: string) => void): Promise<number> {
  const holdings = countHoldings();
  // Not before: what is loaded already has its maps.
  const { Desk: AnyDesk } = await import('./world/desk.js');
  const desk = new AnyDesk();
  await desk.open();
  const held: Map<string, number>[] = [];
  for (let round = 1; round <= rounds; round += 1) {
    await day(desk, round);
    held.push(await holdings());
  }
  return tell(held, print);
}

async function day(desk: Desk, round: number): Promise<void> {
  const vms = await Promise.all(Array.from({ length: VMS }, (_, place) => desk.running(`day${String(round)}-${String(place)}`, nodeAt(place))));
  const watching = watch(desk);
  const modes = [MigrationMode.LIVE_ONLY, MigrationMode.SHUTDOWN, MigrationMode.LIVE_OR_SHUTDOWN];
  const moves = await Promise.all(
    vms.map((vm, place) => {
      const request = { vm, targetNode: nodeAt(place + 1), mode: modes[place % modes.length] ?? MigrationMode.LIVE_ONLY, requestId: `move-${String(round)}-${String(place)}` };
      return desk.ask((api) => api.createMigration(request));
    }),
  );
  const [first] = moves;
  if (round % 2 === 0) await desk.ask((api) => api.cancelMigration({ id: first?.migration?.id ?? '' })).catch(() => undefined);
  const leader = desk.leader();
  if (leader !== undefined) await desk.cluster.store.endSession(leader.site);
  await desk.see('all moves end', () => desk.cluster.records.open().length === 0, 600_000);
  for (const vm of vms) {
    await desk.ask((api) => api.stopVm({ vm, force: true }));
    await desk.see(`${vm} stops`, () => desk.cluster.guests.runningOn(vm).length === 0, 120_000);
  }
  await desk.pass(10_000);
  for (const vm of vms) {
    desk.cluster.mayVanish.add(vm);
    await desk.ask((api) => api.undefineVm({ vm }));
  }
  await watching.end();
  await desk.rest();
  // Until the last questions of this day have had their limits.
  await desk.pass(90_000);
}

function nodeAt(place: number): string {
  return NODES[place % NODES.length] ?? '';
}

/** A client that watches, and goes away. */
function watch(desk: Desk): { end: () => Promise<void> } {
  const leaving = new AbortController();
  const api = desk.anyone();
  const { signal } = leaving;
  const streams = [api.watchVms({}, { signal }), api.watchMigrations({}, { signal }), api.watchNodes({}, { signal })];
  const read = Promise.allSettled(
    streams.map(async (stream) => {
      const iterator = stream[Symbol.asyncIterator]();
      for (let step = await iterator.next(); step.done !== true; ) step = await iterator.next();
    }),
  );
  return {
    end: async () => {
      leaving.abort(new Error('seen enough'));
      await desk.until(read);
    },
  };
}

function tell(held: readonly Map<string, number>[], print: (text: string) => void): number {
  const [before, after] = [held[WARM_UP - 1], held.at(-1)];
  const rounds = held.length - WARM_UP;
  if (before === undefined || after === undefined || rounds < 1) throw new Error(`at least ${String(WARM_UP + 1)} rounds`);
  let total = 0;
  const growing: string[] = [];
  for (const [site, count] of [...after].sort(([, one], [, other]) => other - one)) {
    total += count;
    const growth = (count - (before.get(site) ?? 0)) / rounds;
    if (growth < GROWTH_A_ROUND) continue;
    const why = BY_DESIGN.find(([pattern]) => pattern.test(site))?.[1];
    const figures = held.map((each) => String(each.get(site) ?? 0)).join(' ');
    print(`${why === undefined ? 'GROWS' : 'grows'} ${site}: ${figures}${why === undefined ? '' : ` (${why})`}`);
    if (why === undefined) growing.push(site);
  }
  const sums = held.map((each) => String([...each.values()].reduce((sum, count) => sum + count, 0))).join(' ');
  print(`${String(after.size)} places hold ${String(total)} entries; after each round: ${sums}; ${String(growing.length)} grow without a bound`);
  return growing.length === 0 ? 0 : 1;
}
