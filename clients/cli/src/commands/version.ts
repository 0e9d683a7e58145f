// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { printerOf } from '../run.js';
import type { Terminal } from '../terminal.js';

interface VersionInfo {
  version: string;
  node: string;
}

/** The version of this package, as it was installed. */
export function ownVersion(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  return typeof manifest === 'object' && manifest !== null && 'version' in manifest
    ? String(manifest.version)
    : 'unknown';
}

export function addVersionCommand(program: Command, terminal: Terminal): void {
  program
    .command('version')
    .description("print this program's version; the cluster's own is in cluster status")
    .action((_options: object, command: Command) => {
      printerOf(command, terminal).row<VersionInfo>(
        {
          columns: () => [
            { header: 'VERSION', text: (info) => info.version },
            { header: 'NODE', text: (info) => info.node },
          ],
          name: (info) => info.version,
          toJson: (info) => info,
        },
        { version: ownVersion(), node: process.versions.node },
      );
    });
}
