// SPDX-License-Identifier: Apache-2.0
import { DisarmMode, FenceActionState } from '@lockstep/sdk/v1';
import { describe, expect, it } from 'vitest';
import { brake, BRAKE_LIMITS, mostDead, type BrakeInput } from './brake.js';
import { LADDER, planOf } from './ladder.js';
import { proofByExpiryMs, timesInWords, wrongTimes } from './self-fence.js';
import { FENCE_TRANSITIONS, fenceMayFollow, isFenceEnded } from './transitions.js';

const S = FenceActionState;
const NAMES = ['UNSPECIFIED', 'REQUESTED', 'HELD', 'RUNNING', 'UNCERTAIN', 'CONFIRMED', 'CANCELLED', 'FAILED'] as const;
const STATES = [S.REQUESTED, S.HELD, S.RUNNING, S.UNCERTAIN, S.CONFIRMED, S.CANCELLED, S.FAILED] as const;

describe('the states of a fence action', () => {
  it.each<[string, string]>([
    ['REQUESTED', 'REQUESTED HELD RUNNING CONFIRMED CANCELLED'],
    ['HELD', 'REQUESTED HELD CONFIRMED CANCELLED'],
    ['RUNNING', 'RUNNING UNCERTAIN CONFIRMED CANCELLED FAILED'],
    ['UNCERTAIN', 'RUNNING UNCERTAIN CONFIRMED CANCELLED FAILED'],
    ['CONFIRMED', ''],
    ['CANCELLED', ''],
    ['FAILED', ''],
  ])('%s is followed by: %s', (from, to) => {
    const state = STATES.find((each) => NAMES[each] === from) ?? S.REQUESTED;
    expect(STATES.filter((next) => fenceMayFollow(state, next)).map((next) => NAMES[next]).join(' ')).toBe(to);
  });

  it('end in exactly one of three, and each of the others can still end (INV-5)', () => {
    expect(STATES.filter(isFenceEnded)).toEqual([S.CONFIRMED, S.CANCELLED, S.FAILED]);
    for (const state of STATES.filter((each) => !isFenceEnded(each))) {
      expect(FENCE_TRANSITIONS[state].some(isFenceEnded)).toBe(true);
    }
  });
});

describe('the brake', () => {
  const asked = (more: Partial<BrakeInput> = {}) =>
    brake({
      ...{ node: 'h1', ownNode: 'h9', automatic: true, released: false, disarmed: undefined, blind: undefined },
      ...{ leadingMs: 60_000, nodesTotal: 5, alsoDead: [], alsoSilent: [], running: [], limits: BRAKE_LIMITS },
      ...more,
    });

  it('lets a third go, and at least one', () => {
    expect([1, 2, 3, 5, 6, 9].map(mostDead)).toEqual([1, 1, 1, 1, 2, 3]);
  });

  it.each<[string, Partial<BrakeInput>, string, RegExp?]>([
    ['one dead node goes', {}, 'go'],
    ['two of five are held', { alsoDead: ['h2'] }, 'hold', /2 of 5 nodes.*h1, h2.*lets 1 go/],
    ['two of six go', { alsoDead: ['h2'], nodesTotal: 6 }, 'go'],
    ['what a person released goes', { alsoDead: ['h2', 'h3'], released: true }, 'go'],
    ['what a person asked for goes', { alsoDead: ['h2', 'h3'], automatic: false }, 'go'],
    ['another silent one is waited for', { alsoSilent: ['h2'] }, 'wait', /h2 silent too/],
    ['one at a time', { running: ['h2'] }, 'wait', /after h2/],
    ['nobody fences the node it runs on', { ownNode: 'h1' }, 'wait', /runs on h1 itself/],
    ['not even when a person asks', { ownNode: 'h1', automatic: false }, 'wait'],
    ['a suspect sight fences nobody', { blind: 'the store is silent' }, 'wait', /the store is silent/],
    ['a new leader looks first', { leadingMs: 0 }, 'wait', /only just begun/],
    ['a disarmed Fencer does nothing', { disarmed: { mode: DisarmMode.IGNORE, reason: 'tests' } }, 'wait', /ignore.*tests/],
  ])('%s', (_, more, kind, reason = /^/) => {
    const verdict = asked(more);
    expect(verdict.kind).toBe(kind);
    expect('reason' in verdict ? verdict.reason : '').toMatch(reason);
  });
});

it('a ladder has one rung for each device, in the configured order', () => {
  expect(planOf(LADDER, 2)).toEqual([
    { kind: 'stop-vms' },
    { kind: 'power', device: 0 },
    { kind: 'power', device: 1 },
    { kind: 'watchdog' },
  ]);
  expect(planOf({ rungs: ['watchdog', 'power'], powerOn: false }, 0)).toEqual([{ kind: 'watchdog' }]);
});

describe('the times of a self-fence', () => {
  const times = { leaseGiveUpMs: 12_000, afterMs: 20_000, watchdogMs: 10_000 };

  it('are derived from one another: lease < self-fence < proof', () => {
    expect(wrongTimes(times)).toBeUndefined();
    expect(proofByExpiryMs(times)).toBe(36_000);
    expect(timesInWords(times)).toBe(
      'lease lost after 12 s < self-fence after 20 s < proof by expiry (20 s + 10 s) × 1.2 = 36 s',
    );
  });

  it('are refused with the arithmetic where they are wrong', () => {
    expect(wrongTimes({ ...times, afterMs: 12_000 })).toMatch(/lost 12 s after its last renewal.*comes after 12 s/);
    expect(wrongTimes({ ...times, watchdogMs: 500 })).toMatch(/at least 1 s, and it takes 0.5 s/);
  });
});
