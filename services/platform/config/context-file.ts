// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, readFileSync, renameSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { parse, stringify } from 'yaml';

/** The CLI's own file: the clusters it knows, and the one it talks to unless told. */
interface Contexts {
  current?: string;
  contexts: Record<string, { servers: readonly string[] }>;
}

export function contextFile(env: NodeJS.ProcessEnv = process.env): string {
  return join(env['XDG_CONFIG_HOME'] ?? join(homedir(), '.config'), 'lockstep', 'context.yaml');
}

/** Lets the CLI talk to this cluster from now on. */
export function addContext(name: string, servers: readonly string[], file = contextFile()): void {
  const { contexts } = read(file);
  write(file, { current: name, contexts: { ...contexts, [name]: { servers } } });
}

/** Takes a cluster out of the file, and the file away when nothing else is in it. */
export function removeContext(name: string, file = contextFile()): void {
  const { current, contexts } = read(file);
  const others = Object.entries(contexts).filter(([each]) => each !== name);
  if (others.length === 0) {
    rmSync(file, { force: true });
    removeIfEmpty(dirname(file));
    return;
  }
  const next = current === name ? others[0]?.[0] : current;
  write(file, { ...(next === undefined ? {} : { current: next }), contexts: Object.fromEntries(others) });
}

function read(file: string): Contexts {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return { contexts: {} };
  }
  const known = (parse(text) ?? {}) as Partial<Contexts>;
  return { ...known, contexts: known.contexts ?? {} };
}

function write(file: string, contexts: Contexts): void {
  mkdirSync(dirname(file), { recursive: true });
  const whole = `${file}.${String(process.pid)}`;
  writeFileSync(whole, stringify(contexts));
  renameSync(whole, file);
}

function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // Somebody else's files are in it, or it was never there.
  }
}
