// SPDX-License-Identifier: Apache-2.0
import { SourceFact, TargetFact } from '@lockstep/sdk/v1';
import { describe, expect, it } from 'vitest';
import type { Domain, DomainState } from '../platform/hypervisor/hypervisor.js';
import { sourceFact, targetFact, vmFacts, type FactsInput, type TransferKnowledge } from './facts.js';

const M = 'm1';
const RUNNING: DomainState = { state: 'running', reason: 'ordinary' };
const POST_COPY: DomainState = { state: 'running', reason: 'post-copy' };
const BY_MIGRATION: DomainState = { state: 'paused', reason: 'migration' };
const BY_USER: DomainState = { state: 'paused', reason: 'user' };
const IO_ERROR: DomainState = { state: 'paused', reason: 'io-error' };
const CRASHED: DomainState = { state: 'off', reason: 'crashed' };

function domain(state: DomainState, placementEpoch = 1n): Domain {
  return { uuid: 'u', name: 'web', state, persistent: true, placementEpoch, maxMemoryBytes: 1n, vcpus: 1 };
}

function input(change: Partial<FactsInput>): FactsInput {
  return {
    migrationId: M,
    placementEpoch: 1n,
    domain: undefined,
    notes: { floor: 0n, closedMigrations: [] },
    transfer: { kind: 'none' },
    finishing: false,
    bootId: 'boot-1',
    ...change,
  };
}

const none: TransferKnowledge = { kind: 'none' };
const performing: TransferKnowledge = { kind: 'performing' };
const failed: TransferKnowledge = { kind: 'failed' };
const untold: TransferKnowledge = { kind: 'ended', told: false };
const told: TransferKnowledge = { kind: 'ended', told: true };
const orphan: TransferKnowledge = { kind: 'unknown', jobActive: true };
const lostTrack: TransferKnowledge = { kind: 'unknown', jobActive: false };

describe('what the source says', () => {
  it.each<[string, DomainState | undefined | 'unreachable', TransferKnowledge, SourceFact]>([
    ['runs, nothing under way', RUNNING, none, SourceFact.RUNNING],
    ['paused by its user, nothing under way', BY_USER, none, SourceFact.RUNNING],
    ['paused by an I/O error, nothing under way', IO_ERROR, none, SourceFact.RUNNING],
    ['sends', RUNNING, performing, SourceFact.TRANSFERRING],
    ['sends, standing for the last pass', BY_MIGRATION, performing, SourceFact.TRANSFERRING],
    ['sends, paused by its user', BY_USER, performing, SourceFact.TRANSFERRING],
    ['all sent, nobody told', BY_MIGRATION, untold, SourceFact.UNTOLD],
    ['all sent, told', BY_MIGRATION, told, SourceFact.STANDS],
    ['all sent, told, its user had paused it', BY_USER, told, SourceFact.STANDS],
    ['all sent, told, and somebody resumed it by hand', RUNNING, told, SourceFact.RUNNING],
    ['failed, runs on', RUNNING, failed, SourceFact.RUNNING],
    ['failed, stands', BY_MIGRATION, failed, SourceFact.STANDS],
    ['the hypervisor sends by itself', RUNNING, orphan, SourceFact.TRANSFERRING],
    ['lost track, runs', RUNNING, lostTrack, SourceFact.RUNNING],
    ['lost track, stands', BY_MIGRATION, lostTrack, SourceFact.STANDS],
    ['lost track of a guest its user had paused', BY_USER, lostTrack, SourceFact.STANDS],
    ['left standing by an earlier life', BY_MIGRATION, none, SourceFact.STANDS],
    ['no domain', undefined, none, SourceFact.LOST],
    ['no domain any more', undefined, told, SourceFact.LOST],
    ['crashed', CRASHED, performing, SourceFact.LOST],
    ['no hypervisor', 'unreachable', none, SourceFact.LVDOWN],
  ])('%s', (_what, state, transfer, fact) => {
    const found = state === undefined || state === 'unreachable' ? state : domain(state);
    expect(sourceFact(input({ domain: found, transfer }))).toBe(fact);
  });
});

describe('what the target says', () => {
  const armed = {
    migrationId: M,
    placementEpoch: 2n,
    bootId: 'boot-1',
    memoryBytes: 1n,
    vcpus: 1,
    closed: false,
  };
  const notes = (change: Partial<typeof armed> = {}): FactsInput['notes'] => ({
    floor: 0n,
    closedMigrations: [],
    armed: { ...armed, ...change },
  });

  it.each<[string, Partial<FactsInput>, TargetFact]>([
    ['nothing, never asked', {}, TargetFact.NEVER],
    ['nothing, prepared in this boot', { notes: notes() }, TargetFact.NEVER],
    ['nothing, prepared and given up in this boot', { notes: notes({ closed: true }) }, TargetFact.NEVER],
    ['nothing, Finish was called', { notes: notes(), finishing: true }, TargetFact.MAYBE],
    ['nothing, given up after Finish was called', { notes: notes({ closed: true }), finishing: true }, TargetFact.MAYBE],
    ['nothing, prepared in an earlier boot', { notes: notes({ bootId: 'boot-0' }) }, TargetFact.MAYBE],
    ['nothing, its memory of it was lost', { notes: notes({ bootId: 'forgotten' }) }, TargetFact.MAYBE],
    ['nothing, an earlier boot prepared another migration', { notes: notes({ migrationId: 'm0', bootId: 'boot-0' }) }, TargetFact.NEVER],
    ['being received', { notes: notes(), domain: domain(BY_MIGRATION, 2n) }, TargetFact.INCOMING],
    ['being received while Finish is executed', { notes: notes(), domain: domain(BY_MIGRATION, 2n), finishing: true }, TargetFact.INCOMING],
    ['runs', { notes: notes(), domain: domain(RUNNING, 2n) }, TargetFact.RUNNING],
    ['runs, its memory still coming', { notes: notes(), domain: domain(POST_COPY, 2n) }, TargetFact.RUNNING],
    ['arrived paused, as its user wished', { notes: notes(), domain: domain(BY_USER, 2n) }, TargetFact.RUNNING],
    ['ran and crashed', { notes: notes(), domain: domain(CRASHED, 2n) }, TargetFact.MAYBE],
    ['an old definition of another epoch', { notes: notes(), domain: domain(CRASHED, 1n) }, TargetFact.NEVER],
    ['no hypervisor', { notes: notes(), domain: 'unreachable' }, TargetFact.UNREACHABLE],
  ])('%s', (_what, change, fact) => {
    expect(targetFact(input(change))).toBe(fact);
  });

  it('leaves the fact of the other end unsaid where it knows which end it is', () => {
    expect(vmFacts(input({ notes: notes() })).sourceFact).toBe(SourceFact.UNSPECIFIED);
    const outgoing = { migrationId: M, placementEpoch: 1n, transferStarted: false };
    const source = input({ domain: domain(RUNNING), notes: { floor: 0n, closedMigrations: [], outgoing } });
    expect(vmFacts(source)).toMatchObject({ targetFact: TargetFact.UNSPECIFIED, sourceFact: SourceFact.RUNNING });
  });
});
