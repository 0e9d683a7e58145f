// SPDX-License-Identifier: Apache-2.0
import { differences } from './compare.js';
import { notSupported, readScenario, type Scenario, type Step } from './format.js';
import { play } from './play.js';

/** What an operator hears of each step. */
const SAID: Readonly<Record<string, (step: Step) => string>> = {
  boot: ({ node = '' }) => `${node} is switched on.`,
  crash: ({ node = '' }) => `${node} loses its power.`,
  isolate: ({ node = '' }) => `${node} is cut off the network; what runs there runs on.`,
  heal: ({ node = '' }) => `${node} is on the network again.`,
  shutdown: ({ node = '' }) => `${node} is shut down in an orderly way.`,
  reboot: ({ node = '' }) => `${node} is rebooted in an orderly way.`,
  restart_agent: ({ node = '' }) => `The agent of ${node} is restarted.`,
  store_fault: ({ node = '', fails, operation }) =>
    fails === true ? `${node} cannot ${operation === 'update' ? 'write to' : 'reach'} the store.` : `${node} has the store again.`,
  maintenance_on: ({ node = '' }) => `Somebody puts ${node} into maintenance.`,
  maintenance_off: ({ node = '' }) => `The maintenance of ${node} is over.`,
  disarm: ({ mode = '' }) => `Somebody disarms the Fencer (${mode}).`,
  arm: () => 'Somebody arms the Fencer again.',
  stop_scheduler: () => 'The Schedulers are stopped.',
  migrate: ({ vm = '', to = '' }) => `Somebody moves ${vm} to ${to}.`,
  relocate: ({ vm = '', to = '' }) => `Somebody moves ${vm} to ${to} by shutting it down.`,
  stop_vm: ({ vm = '' }) => `Somebody stops ${vm}.`,
  set_desired: ({ vm = '', desired = 'RUNNING' }) => `From now on ${vm} shall be ${desired.toLowerCase()}.`,
  define: ({ vm = '', node = '' }) => `Somebody defines ${vm} on ${node}.`,
  undefine: ({ vm = '' }) => `Somebody takes ${vm} out of the cluster's care.`,
  moved_behind_back: ({ vm = '', to = '' }) => `Somebody moves ${vm} to ${to} by hand, past the cluster.`,
};

/** What of the trace belongs into a story, in a person's words: the first rule that knows a line tells it. */
const RULES: readonly [pattern: RegExp, tell: (match: RegExpMatchArray) => string][] = [
  [/^guest (\S+) spawned, runs$/, ([, guest = '']) => `${guest} starts on HOST.`],
  [/^guest (\S+) resumed \(migrated\), runs$/, ([, guest = '']) => `${guest} has arrived: from this moment it runs on HOST.`],
  [/^guest (\S+) stopped \((\w+)\)$/, ([, guest = '', why = '']) => `the copy of ${guest} on HOST ends (${why}).`],
  [/^its BMC switches it (\w+)$/, ([, state = '']) => `the BMC of HOST switches it ${state}.`],
  [/judging: (\S+: .*?) \{/, ([, text = '']) => `the Fencer judges ${text}`],
  [/events: (.*?) \{/, ([, text = '']) => `on record: ${text}`],
  [/recovery: (.*?) \{/, ([, text = '']) => `the Scheduler: ${text}`],
  [/leadership: leads \{/, () => 'HOST leads now.'],
  [/membership: joined/, () => 'the agent HOST joins the cluster.'],
  [/^(.*) BROKEN: (.*)$/, ([, promise = '', text = '']) => `!! ${promise} is broken: ${text}`],
];

/** Tells a scenario as a story, as it happens. Returns the exit code. */
export async function tell(file: string, print: (text: string) => void): Promise<number> {
  const scenario = readScenario(file);
  const missing = notSupported(scenario);
  if (missing !== undefined) {
    print(`${scenario.name} cannot be told yet: it needs ${missing}`);
    return 2;
  }
  opening(scenario, print);
  const teller = new Teller(print);
  const played = await play(scenario, (line) => {
    teller.hear(line);
  });
  const { outcome, refused } = played;
  teller.end();
  print('\nHow it ended:');
  for (const [vm, { state, node }] of Object.entries(outcome.final)) print(`  ${vm} is ${state.toLowerCase()} on ${node}.`);
  print(outcome.fenced.length === 0 ? '  No node was fenced.' : `  Fenced: ${outcome.fenced.join(', ')}.`);
  for (const text of refused) print(`  The cluster refused: ${text}`);
  const found = differences(scenario, played);
  for (const text of found) print(`  Not as it should be: ${text}`);
  if (found.length === 0) print('  No promise was broken.');
  return found.length === 0 ? 0 : 1;
}

function opening({ name, nodes, vms }: Scenario, print: (text: string) => void): void {
  print(`${name}\n${'='.repeat(name.length)}\n`);
  print(`A cluster of ${Object.keys(nodes).join(', ')}.`);
  for (const [vm, { node, desired }] of Object.entries(vms)) print(`${vm} lives on ${node} and shall be ${desired.toLowerCase()}.`);
  print('');
}

/** Picks the story out of the trace: from the curtain on, without what is said twice. */
class Teller {
  #begun: number | undefined;
  #last = '';
  #repeated = 0;
  readonly #names = new Map<string, string>();

  constructor(private readonly print: (text: string) => void) {}

  hear(line: string): void {
    const [, seconds = '0', who = '', text = ''] = /^\s*([\d.]+)\s+(\S+)\s+(.*)$/.exec(line) ?? [];
    this.#learn(text);
    if (who === 'STAGE' && text.endsWith('begins')) this.#begun = Number(seconds);
    if (this.#begun === undefined) return;
    const told = who === 'STAGE' && text.startsWith('{') ? stepSaid(text) : this.#rule(who, text);
    if (told !== undefined) this.#say(Number(seconds) - this.#begun, told);
  }

  end(): void {
    if (this.#repeated > 0) this.print(`${' '.repeat(12)}(and so on, ${String(this.#repeated)} times)`);
    this.#repeated = 0;
  }

  /** The trace calls guests by the first letters of their UUIDs; people call them by name. */
  #learn(text: string): void {
    const [, name = '', id = ''] = /^(\S+) is guest (\S+)$/.exec(text) ?? [];
    if (name !== '') this.#names.set(id, name);
  }

  #rule(who: string, text: string): string | undefined {
    for (const [pattern, told] of RULES) {
      const match = pattern.exec(text);
      if (match === null) continue;
      const host = who.replace(/#\d+$/, '');
      const said = told(match).replaceAll('HOST', host);
      return [...this.#names].reduce((sentence, [id, name]) => sentence.replaceAll(id, name), said);
    }
    return undefined;
  }

  #say(atSeconds: number, text: string): void {
    if (text === this.#last) {
      this.#repeated += 1;
      return;
    }
    this.end();
    this.#last = text;
    this.print(`${atSeconds.toFixed(1).padStart(8)} s  ${text}`);
  }
}

function stepSaid(text: string): string | undefined {
  const step = JSON.parse(text) as Step;
  const said = SAID[step.do]?.(step);
  return said === undefined ? undefined : `** ${said}`;
}
