// SPDX-License-Identifier: Apache-2.0
import { MigrationState, SourceFact, TargetFact } from '@lockstep/sdk/v1';
import { decide, RECOVERY_TABLE, type RecoveryAction } from '@lockstep/services/core/migration/recovery.js';
import { isCancellable, isTerminal, TRANSITIONS } from '@lockstep/services/core/migration/transitions.js';

/** Another answer in one cell, to see that the model finds it wrong. */
export interface CellChange {
  source: SourceFact;
  target: TargetFact;
  action: RecoveryAction;
}

type Named = Readonly<Record<string, number | string>>;

function names(of: Named): [string, number][] {
  return Object.entries(of).filter(
    (entry): entry is [string, number] =>
      typeof entry[1] === 'number' && entry[0] !== 'UNSPECIFIED' && entry[0] !== 'UNRECOGNIZED',
  );
}

/** All answers of the table; the model numbers them from 1 on in this order. */
export function actions(): RecoveryAction[] {
  const used = Object.values(RECOVERY_TABLE).flatMap((row) => Object.values(row));
  return [...new Set<RecoveryAction>(used)].sort();
}

/** The tables that the product runs by, as Promela: every fact, every state, every answer, made by the code itself. */
export function tables(change?: CellChange): string {
  return [
    '/* Made by tables.ts from services/core/migration/recovery.ts and transitions.ts. */',
    ...names(SourceFact).map(([name, value]) => `#define SF_${name} ${String(value)}`),
    ...names(TargetFact).map(([name, value]) => `#define TF_${name} ${String(value)}`),
    ...names(MigrationState).map(([name, value]) => `#define MS_${name} ${String(value)}`),
    ...actions().map((action, index) => `#define ${action} ${String(index + 1)}`),
    `#define TERMINAL(j) (${among('j', (state) => isTerminal(state))})`,
    `#define CANCELLABLE(j) (${among('j', (state) => isCancellable(state))})`,
    'c_code {',
    ...table(change),
    ...REPORT,
    '}',
    '',
  ].join('\n');
}

function among(variable: string, chosen: (state: MigrationState) => boolean): string {
  const states = names(MigrationState).filter(([, value]) => chosen(value as MigrationState));
  return states.map(([name]) => `${variable} == MS_${name}`).join(' || ');
}

/** Every combination of facts with the code's own answer, and every transition that the code allows. */
function table(change: CellChange | undefined): string[] {
  const cells: string[] = [];
  for (const [source, sourceValue] of names(SourceFact)) {
    for (const [target, targetValue] of names(TargetFact)) {
      for (const heard of [false, true]) {
        for (const cancel of [false, true]) {
          const facts = { source: sourceValue as SourceFact, target: targetValue as TargetFact, endHeard: heard };
          const changed = change?.source === facts.source && change.target === facts.target;
          const action = changed ? change.action : decide(facts, cancel);
          const key = [sourceValue, targetValue, Number(heard), Number(cancel)].join(', ');
          const name = [source, target, heard ? 'heard' : 'unheard', cancel ? 'cancel' : 'on'].join('/');
          cells.push(`  { ${key}, ${action}, "${name}" },`);
        }
      }
    }
  }
  const transitions = names(MigrationState).flatMap(([from, value]) =>
    TRANSITIONS[value as keyof typeof TRANSITIONS].map((to) => {
      const next = names(MigrationState).find(([, other]) => other === to)?.[0] ?? '';
      return `  { MS_${from}, MS_${next}, "${from}>${next}" },`;
    }),
  );
  return [
    'static struct { unsigned char source, target, heard, cancel, action; const char *name; unsigned long times; } cells[] = {',
    ...cells,
    '};',
    'static struct { unsigned char from, to; const char *name; unsigned long times; } transitions[] = {',
    ...transitions,
    '};',
  ];
}

/** How often each was used is no part of the model's state; it is told when the check ends. */
const REPORT = String.raw`
#define LENGTH(list) (sizeof(list) / sizeof(*list))
static void report_use(void) {
  unsigned i;
  for (i = 0; i < LENGTH(cells); i++) if (cells[i].times) printf("cell %s %lu\n", cells[i].name, cells[i].times);
  for (i = 0; i < LENGTH(transitions); i++)
    if (transitions[i].times) printf("transition %s %lu\n", transitions[i].name, transitions[i].times);
}
static void report_at_end(void) {
  static int asked;
  if (!asked) { asked = 1; atexit(report_use); }
}
static int decide(int source, int target, int heard, int cancel) {
  unsigned i;
  report_at_end();
  for (i = 0; i < LENGTH(cells); i++) {
    if (cells[i].source == source && cells[i].target == target && cells[i].heard == heard && cells[i].cancel == cancel) {
      cells[i].times++;
      return cells[i].action;
    }
  }
  return 0;
}
static int follow(int from, int to) {
  unsigned i;
  report_at_end();
  for (i = 0; i < LENGTH(transitions); i++) {
    if (transitions[i].from == from && transitions[i].to == to) { transitions[i].times++; return to; }
  }
  return 0;
}`.split('\n');
