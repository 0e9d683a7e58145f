// SPDX-License-Identifier: Apache-2.0
import { rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { parse, stringify } from 'yaml';
import { serversOf } from './configs.js';
import { readIfThere, removeIfEmpty, writeWhole } from './files.js';
import type { Lab } from './layout.js';

/** The CLI's own file: the clusters it knows and the one it talks to. */
interface Contexts {
  current?: string;
  contexts: Record<string, { servers: string[] }>;
}

const contextNameOf = (lab: Lab) => (lab.name === 'ls' ? 'lab' : `lab-${lab.name}`);

export function contextFile(env: NodeJS.ProcessEnv = process.env): string {
  return join(env['XDG_CONFIG_HOME'] ?? join(homedir(), '.config'), 'lockstep/context.yaml');
}

function read(file: string): Contexts {
  const known = (parse(readIfThere(file) ?? '') ?? {}) as Partial<Contexts>;
  return { ...known, contexts: known.contexts ?? {} };
}

/** Lets the CLI talk to this lab from now on. */
export function addContext(lab: Lab, file: string): void {
  const known = read(file);
  const name = contextNameOf(lab);
  writeWhole(file, stringify({ current: name, contexts: { ...known.contexts, [name]: { servers: serversOf(lab) } } }));
}

/** Takes this lab out of the file, and the file away when nothing else is in it. */
export function removeContext(lab: Lab, file: string): void {
  const { current, contexts } = read(file);
  const name = contextNameOf(lab);
  const others = Object.entries(contexts).filter(([each]) => each !== name);
  if (others.length === 0) {
    rmSync(file, { force: true });
    removeIfEmpty(dirname(file));
    return;
  }
  const kept: Contexts = { contexts: Object.fromEntries(others) };
  const next = current === name ? others[0]?.[0] : current;
  writeWhole(file, stringify(next === undefined ? kept : { current: next, ...kept }));
}
