// SPDX-License-Identifier: Apache-2.0
import { accessSync, constants } from 'node:fs';
import type { Lockstep, TlsFiles } from '@lockstep/sdk';
import { contextFilePath, messageOf, readContext, type Context } from './context-file.js';
import { usageError } from './exit.js';

/** Where to look for the cluster, as the command line says it. */
export interface Whereabouts {
  /** `HOST:PORT[,HOST:PORT…]`. */
  server?: string | undefined;
  /** A context of the context file. */
  context?: string | undefined;
  tlsCa?: string | undefined;
  tlsCert?: string | undefined;
  tlsKey?: string | undefined;
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The cluster's servers: `--server`, else a context named on the command line, else LOCKSTEP_SERVER, else the current
 * context of the context file. Throws a usage error where none of them says anything.
 */
export function findCluster(whereabouts: Whereabouts, env: Environment): Context {
  const found = findServers(whereabouts, env);
  const tls = tlsOf(whereabouts) ?? found.tls;
  return tls === undefined ? { servers: found.servers } : { servers: found.servers, tls };
}

function findServers(whereabouts: Whereabouts, env: Environment): Context {
  if (whereabouts.server !== undefined) return { servers: parseServers(whereabouts.server, '--server') };
  const path = contextFilePath(env);
  const fromEnv = env['LOCKSTEP_SERVER'] ?? '';
  if (whereabouts.context === undefined && fromEnv !== '') {
    return { servers: parseServers(fromEnv, 'LOCKSTEP_SERVER') };
  }
  const context = readContext(path, whereabouts.context);
  if (context !== undefined) {
    return { ...context, servers: context.servers.map((server) => parseServer(server, path)) };
  }
  throw usageError(
    'NO_CLUSTER',
    `no cluster is named: give --server HOST:PORT, set LOCKSTEP_SERVER, or write ${path}`,
    'lockstep dev',
  );
}

function tlsOf({ tlsCa, tlsCert, tlsKey }: Whereabouts): TlsFiles | undefined {
  if (tlsCa === undefined && tlsCert === undefined && tlsKey === undefined) return undefined;
  if (tlsCa === undefined || tlsCert === undefined || tlsKey === undefined) {
    throw usageError('TLS_INCOMPLETE', '--tls-ca, --tls-cert and --tls-key go together');
  }
  return { caFile: tlsCa, certFile: tlsCert, keyFile: tlsKey };
}

function parseServers(text: string, from: string): string[] {
  return text.split(',').map((server) => parseServer(server.trim(), from));
}

const SERVER = /^(?:\[[0-9a-f:.%]+\]|[^\s:/[\]]+):(\d{1,5})$/i;

function parseServer(server: string, from: string): string {
  const port = Number(SERVER.exec(server)?.[1]);
  if (port >= 1 && port <= 65_535) return server;
  throw usageError('INVALID_SERVER', `${from}: got "${server}", want HOST:PORT, e.g. 127.0.0.1:7702`);
}

/** Opens the cluster's API. Nothing is sent yet. `deadlineMs` is the limit of each call. */
export async function openCluster({ servers, tls }: Context, deadlineMs: number): Promise<Lockstep> {
  if (tls !== undefined) Object.values(tls).forEach(checkReadable);
  // Loaded here and not at the top: help, completion and wrong command lines need no gRPC and are quick.
  const { connect } = await import('@lockstep/sdk');
  return connect(tls === undefined ? { servers, deadlineMs } : { servers, deadlineMs, tls });
}

function checkReadable(path: string): void {
  try {
    accessSync(path, constants.R_OK);
  } catch (error) {
    throw usageError('TLS_FILE_UNREADABLE', `${path} cannot be read: ${messageOf(error)}`);
  }
}
