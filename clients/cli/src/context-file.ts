// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import type { TlsFiles } from '@lockstep/sdk';
import { parse, YAMLParseError } from 'yaml';
import { usageError } from './exit.js';

/** A cluster by name. */
export interface Context {
  servers: readonly string[];
  tls?: TlsFiles;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Where the context file is: `$XDG_CONFIG_HOME` or `~/.config`, then `lockstep/context.yaml`. */
export function contextFilePath(env: Environment): string {
  const base = env['XDG_CONFIG_HOME'] ?? '';
  const home = env['HOME'] ?? '';
  return join(base === '' ? join(home === '' ? homedir() : home, '.config') : base, 'lockstep', 'context.yaml');
}

/**
 * The context of this name, or the file's current one; undefined where there is no file and no name was given.
 * Throws a usage error that names the file where its content is wrong.
 */
export function readContext(path: string, name: string | undefined): Context | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (name === undefined && (error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw usageError('CONTEXT_FILE_UNREADABLE', `${path} cannot be read: ${messageOf(error)}`);
  }
  const file = object(parseYaml(path, text), path, 'the file');
  const current = name ?? string(file['current'], path, 'current');
  const contexts = object(file['contexts'], path, 'contexts');
  if (!Object.hasOwn(contexts, current)) {
    const known = Object.keys(contexts).join(', ');
    throw usageError('CONTEXT_UNKNOWN', `${path} has no context "${current}"; it has: ${known}`);
  }
  return readOne(contexts[current], path, `contexts.${current}`);
}

function readOne(value: unknown, path: string, at: string): Context {
  const context = object(value, path, at);
  const servers = context['servers'];
  if (!Array.isArray(servers) || servers.length === 0) throw wrong(path, `${at}.servers`, 'a list of HOST:PORT');
  const list = servers.map((server, index) => string(server, path, `${at}.servers[${String(index)}]`));
  const tls = context['tls'];
  return tls === undefined ? { servers: list } : { servers: list, tls: readTls(tls, path, `${at}.tls`) };
}

function readTls(value: unknown, path: string, at: string): TlsFiles {
  const tls = object(value, path, at);
  const file = (key: string): string => {
    const named = string(tls[key], path, `${at}.${key}`);
    return isAbsolute(named) ? named : resolve(dirname(path), named);
  };
  return { caFile: file('ca'), certFile: file('cert'), keyFile: file('key') };
}

function parseYaml(path: string, text: string): unknown {
  try {
    return parse(text);
  } catch (error) {
    const line = error instanceof YAMLParseError ? error.linePos?.[0].line : undefined;
    const where = line === undefined ? path : `${path}:${String(line)}`;
    throw usageError('CONTEXT_FILE_INVALID', `${where}: ${messageOf(error).split('\n')[0] ?? ''}`);
  }
}

function object(value: unknown, path: string, at: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong(path, at, 'a mapping');
  return value as Record<string, unknown>;
}

function string(value: unknown, path: string, at: string): string {
  if (typeof value !== 'string' || value === '') throw wrong(path, at, 'a text');
  return value;
}

function wrong(path: string, at: string, want: string): Error {
  return usageError('CONTEXT_FILE_INVALID', `${path}: ${at} must be ${want}`);
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
