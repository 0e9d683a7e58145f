// SPDX-License-Identifier: Apache-2.0
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { continuityOf } from '../../deploy/lab/api.js';
import { removeGuests, startGuest } from './guest.js';
import { lab, lockstep, meshUp, migrationOf, ok, shown } from './mesh.js';

beforeAll(meshUp);
afterEach(removeGuests);

const LOCKSTEP_PHASES = [
  ['PREPARE_SOURCE', 'SOURCE'],
  ['PREPARE_TARGET', 'TARGET'],
  ['TRANSFER', 'SOURCE'],
  ['COMMIT_TARGET', 'TARGET'],
  ['PLACE', undefined],
  ['COMMIT_SOURCE', 'SOURCE'],
];

interface ShownVm {
  placement: { node: string; epoch: string };
}

describe('a VM that moves live', () => {
  it('goes round all hosts with its memory, and is on one of them at a time', async () => {
    const guest = await startGuest('h1');
    for (const target of ['h2', 'h3', 'h1']) {
      const moved = await lockstep('vm', 'migrate', guest.name, target, '--force-live', '--wait', '-o', 'json');
      expect(moved, moved.stderr).toMatchObject({ code: 0 });
      await guest.runsOnlyOn(target);
      await guest.countsOn();

      const { id } = JSON.parse(moved.stdout) as { id: string };
      const { phases, outcome, placementEpoch = '' } = await migrationOf(id);
      const steps = phases.map(({ step, side }) => [
        step.replace('MIGRATION_STEP_', ''),
        side?.replace('MIGRATION_ROLE_', ''),
      ]);
      expect(steps).toEqual(LOCKSTEP_PHASES);
      expect(phases.filter(({ ok: done, duration }) => done !== true || duration === undefined)).toEqual([]);
      for (const time of [outcome?.downtime, outcome?.gap, outcome?.total]) expect(time).toMatch(/^[\d.]+s$/);
      const people = await ok('migration', 'show', id);
      expect(people).toMatch(/^Downtime +\d/m);
      expect(people).toMatch(/^Gap +\d/m);

      // Persistent on the target, and both definitions carry the epoch of this very move.
      expect(await guest.epochsOn(target)).toEqual({ live: placementEpoch, persistent: placementEpoch });
      const { placement } = await shown<ShownVm>('vm', 'show', guest.name);
      expect(placement).toMatchObject({ node: target, epoch: placementEpoch });
    }
    expect(continuityOf(lab, guest.name)).toMatchObject({ ok: true, moves: 3 });
  });

  it('passes another one that moves the other way at the same time', async () => {
    const [one, other] = await Promise.all([startGuest('h1'), startGuest('h2')]);
    const ends = await Promise.all([
      lockstep('vm', 'migrate', one.name, 'h2', '--force-live', '--wait', '-o', 'json'),
      lockstep('vm', 'migrate', other.name, 'h1', '--force-live', '--wait', '-o', 'json'),
    ]);
    for (const end of ends) expect(end, end.stderr).toMatchObject({ code: 0 });

    const times = ends.map(({ stdout }) => {
      const { phases } = JSON.parse(stdout) as Awaited<ReturnType<typeof migrationOf>>;
      return { began: Date.parse(phases[0]?.startTime ?? ''), ended: Date.parse(phases.at(-1)?.endTime ?? '') };
    });
    const overlapMs = Math.min(...times.map(({ ended }) => ended)) - Math.max(...times.map(({ began }) => began));
    expect(overlapMs).toBeGreaterThan(0);
    await one.runsOnlyOn('h2');
    await other.runsOnlyOn('h1');
    for (const guest of [one, other]) {
      await guest.countsOn();
      expect(continuityOf(lab, guest.name)).toMatchObject({ ok: true, moves: 1 });
    }
  });
});
