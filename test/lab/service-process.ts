// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import type { ServiceName } from '../../deploy/lab/configs.js';
import { until } from '../../deploy/lab/api.js';
import { lab } from './mesh.js';

const START_LIMIT_MS = 30_000;

/** A service with a configuration of the test's own. */
export interface ServiceProcess {
  /** What it logged so far. */
  log(): string;
  /** Ends it and removes its files. */
  end(): Promise<void>;
}

/**
 * Starts a service and returns once it listens. `files` lie beside its configuration, which names them relative to that.
 *
 * @param before - the words before its command line, for example those that make it run in a host
 */
export async function startService(
  name: ServiceName,
  { config, before = [] }: { config: (folder: string) => object; before?: readonly string[] },
): Promise<ServiceProcess> {
  const folder = mkdtempSync(join(tmpdir(), 'lockstep-service-'));
  const file = join(folder, `${name}.yaml`);
  writeFileSync(file, stringify(config(folder)));
  const main = join(lab.checkout, 'services/dist', name, 'main.js');
  const [program, ...args] = [...before, process.execPath, main, '--config', file];
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let log = '';
  const note = (text: Buffer): void => {
    log += text.toString();
  };
  child.stdout.on('data', note);
  child.stderr.on('data', note);
  const gone = new Promise<void>((resolve) => {
    child.on('close', () => {
      resolve();
    });
  });
  const end = async (): Promise<void> => {
    child.kill('SIGKILL');
    await gone;
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await until(`${name} listens`, START_LIMIT_MS, () => {
      if (child.exitCode !== null) throw new Error(`${name} ended with ${child.exitCode}: ${log}`);
      return Promise.resolve(log.includes('listens at') ? undefined : log);
    });
  } catch (error) {
    await end();
    throw error;
  }
  return { log: () => log, end };
}
