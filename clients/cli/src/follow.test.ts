// SPDX-License-Identifier: Apache-2.0
import type { Lockstep } from '@lockstep/sdk';
import { ApiError, Status } from '@lockstep/sdk/errors';
import { Migration, MigrationState } from '@lockstep/sdk/v1';
import { describe, expect, it } from 'vitest';
import { checkSucceeded, followMigration } from './follow.js';
import { PlayedTerminal } from './testing/terminal.js';

const LIMITS = { timeoutMs: 10_000 };

function migration(state: MigrationState, reason = ''): Migration {
  return Migration.fromPartial({ id: 'm', vmName: 'c1', sourceNode: 'h1', targetNode: 'h2', state, reason });
}

/** A cluster in which one migration goes through these states and then stays where it is. */
function clusterWith(...states: MigrationState[]): Lockstep {
  const waitForMigration: Lockstep['waitForMigration'] = (_id, { signal, onUpdate } = {}) => {
    for (const state of states) onUpdate?.(migration(state));
    const last = states.at(-1) ?? MigrationState.UNSPECIFIED;
    if (last === MigrationState.SUCCEEDED) return Promise.resolve(migration(last));
    return new Promise((_resolve, reject) => {
      signal?.addEventListener('abort', () => {
        reject(new Error('aborted'));
      });
    });
  };
  return { waitForMigration } as Lockstep;
}

describe('followMigration', () => {
  it('returns the end', async () => {
    const cluster = clusterWith(MigrationState.TRANSFERRING, MigrationState.SUCCEEDED);
    const ended = await followMigration(cluster, new PlayedTerminal(), 'm', LIMITS);
    expect(ended.state).toBe(MigrationState.SUCCEEDED);
  });

  it('lets go at Ctrl-C', async () => {
    const terminal = new PlayedTerminal();
    const following = followMigration(clusterWith(MigrationState.TRANSFERRING), terminal, 'm', LIMITS);
    terminal.interrupt();
    await expect(following).rejects.toMatchObject({ exitCode: 130, next: 'lockstep migration watch m' });
  });

  it('calls a person where it stays UNCERTAIN', async () => {
    const following = followMigration(clusterWith(MigrationState.UNCERTAIN), new PlayedTerminal(), 'm', {
      ...LIMITS,
      uncertainMs: 5,
    });
    await expect(following).rejects.toMatchObject({ exitCode: 7, next: 'lockstep migration show m' });
  });

  it('goes on where it was UNCERTAIN for a moment only', async () => {
    const cluster = clusterWith(MigrationState.UNCERTAIN, MigrationState.TRANSFERRING);
    const following = followMigration(cluster, new PlayedTerminal(), 'm', { timeoutMs: 50, uncertainMs: 5 });
    await expect(following).rejects.toMatchObject({ exitCode: 5, reason: 'WAIT_TIMEOUT' });
  });

  it('says how to come back where the cluster is out of sight', async () => {
    const lost = new ApiError('no answer', { reason: 'SERVER_UNREACHABLE', code: Status.UNAVAILABLE });
    const cluster = { waitForMigration: () => Promise.reject(lost) } as unknown as Lockstep;
    await expect(followMigration(cluster, new PlayedTerminal(), 'm', LIMITS)).rejects.toMatchObject({
      exitCode: 5,
      reason: 'SERVER_UNREACHABLE',
      next: 'lockstep migration watch m',
    });
  });

  it('passes on what the cluster says', async () => {
    const cluster = { waitForMigration: () => Promise.reject(new Error('gone')) } as unknown as Lockstep;
    await expect(followMigration(cluster, new PlayedTerminal(), 'm', LIMITS)).rejects.toThrow('gone');
  });
});

describe('checkSucceeded', () => {
  it.each([
    [MigrationState.ABORTED, 6],
    [MigrationState.FAILED, 1],
    [99 as MigrationState, 7],
  ])('state %d exits %i', (state, exitCode) => {
    expect(() => {
      checkSucceeded(migration(state, 'WHY'));
    }).toThrow(expect.objectContaining({ exitCode, reason: 'WHY', next: 'lockstep migration show m' }) as Error);
  });
});
