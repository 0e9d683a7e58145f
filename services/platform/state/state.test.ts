// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openFileState } from './file.js';
import { createMemoryState } from './memory.js';
import type { DurableState } from './state.js';

let root = '';
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'lockstep-state-'));
});
afterEach(() => {
  rmSync(root, { recursive: true, force: true });
});

const kinds: [string, () => { restart(): Promise<DurableState>; reboot(): void }][] = [
  [
    'in files',
    () => {
      const bootIdFile = join(root, 'boot_id');
      let boots = 0;
      const reboot = (): void => {
        writeFileSync(bootIdFile, `boot-${String((boots += 1))}\n`);
      };
      reboot();
      return { restart: () => openFileState({ folder: join(root, 'agent/state'), bootIdFile }), reboot };
    },
  ],
  [
    'in memory',
    () => {
      const state = createMemoryState();
      return {
        restart: () => Promise.resolve(state),
        reboot: () => {
          state.reboot();
        },
      };
    },
  ],
];

describe.each(kinds)('a state %s', (_kind, make) => {
  it('starts with nothing, and has after a restart what was saved last', async () => {
    const machine = make();
    const state = await machine.restart();
    expect(await state.load()).toBeUndefined();
    await state.save('{"floor":1}');
    await state.save('{"floor":2,"vm":"ü"}');
    expect(await (await machine.restart()).load()).toBe('{"floor":2,"vm":"ü"}');
  });

  it('keeps the save that was called last', async () => {
    const state = await make().restart();
    await Promise.all(Array.from({ length: 20 }, (_, n) => state.save(`{"n":${String(n)}}`)));
    expect(await state.load()).toBe('{"n":19}');
  });

  it('keeps marks by name until they are cleared', async () => {
    const machine = make();
    const state = await machine.restart();
    expect(await state.readMark('finishing')).toBeUndefined();
    await state.mark('finishing', 'one');
    await state.mark('finishing', 'two');
    await state.mark('other', 'three');
    const again = await machine.restart();
    expect(await again.readMark('finishing')).toBe('two');
    await again.clearMark('finishing');
    await again.clearMark('finishing');
    expect(await again.readMark('finishing')).toBeUndefined();
    expect(await again.readMark('other')).toBe('three');
  });

  it('tells one boot from another', async () => {
    const machine = make();
    const before = await (await machine.restart()).bootId();
    expect(await (await machine.restart()).bootId()).toBe(before);
    machine.reboot();
    expect(await (await machine.restart()).bootId()).not.toBe(before);
  });
});

describe('a state in files', () => {
  const document = (): string => join(root, 'state.json');

  it('fails on a damaged document instead of forgetting', async () => {
    const state = await openFileState({ folder: root });
    for (const damage of ['', '{"floor":', '\0\0\0\0']) {
      writeFileSync(document(), damage);
      await expect(state.load()).rejects.toThrow(/state\.json is damaged/);
    }
  });

  it('is not disturbed by a write that a crash cut short', async () => {
    const state = await openFileState({ folder: root });
    await state.save('{"floor":1}');
    writeFileSync(`${document()}.new`, '{"flo');
    expect(await state.load()).toBe('{"floor":1}');
    await state.save('{"floor":2}');
    expect(await state.load()).toBe('{"floor":2}');
    expect(readdirSync(root)).toEqual(['state.json']);
  });

  it('rejects a save that fails, keeps the old document, and goes on', async () => {
    const state = await openFileState({ folder: join(root, 'sub') });
    await state.save('{"floor":1}');
    rmSync(join(root, 'sub'), { recursive: true });
    await expect(state.save('{"floor":2}')).rejects.toThrow(/ENOENT/);
  });

  it('is readable by its user alone', async () => {
    const state = await openFileState({ folder: root });
    await state.save('{}');
    await state.mark('finishing', 'x');
    for (const name of readdirSync(root)) expect(statSync(join(root, name)).mode & 0o077).toBe(0);
  });

  it('keeps a mark inside its folder', async () => {
    const state = await openFileState({ folder: root });
    await expect(state.mark('../evil', 'x')).rejects.toThrow(/mark's name/);
  });
});
