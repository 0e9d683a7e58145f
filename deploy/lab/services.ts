// SPDX-License-Identifier: Apache-2.0
import { mkdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { ports, serviceConfigurations, type ServiceName } from './configs.js';
import { writeWhole } from './files.js';
import { healthOf } from './health.js';
import type { HostLayout } from './layout.js';
import type { Part } from './part.js';

const configurationOf = (host: HostLayout, service: ServiceName) => join(host.dir, 'lockstep', `${service}.yaml`);

function servicePart(name: ServiceName): Part {
  return {
    name,
    prepare: (lab, host) => {
      for (const [file, text] of serviceConfigurations(lab, host, name)) writeWhole(file, text);
      mkdirSync(join(host.dir, 'lockstep/state', name), { recursive: true });
      mkdirSync(lab.pointsDir, { recursive: true });
    },
    argv: (lab, host) => [
      process.execPath,
      ...['--enable-source-maps', join(lab.checkout, 'services/dist', name, 'main.js')],
      ...['--config', configurationOf(host, name)],
    ],
    env: (lab) => ({
      // Stands still nowhere unless a test puts a file there.
      LOCKSTEP_TEST_POINTS: lab.pointsDir,
      PATH: [join(lab.checkout, 'deploy/lab/service-manager'), process.env['PATH'] ?? ''].join(delimiter),
    }),
    readyLimitMs: 30_000,
    missing: (_lab, host) => healthOf(`${host.addresses.a}:${ports[name]}`),
    graceMs: 5_000,
  };
}

export const nodeAgent = servicePart('node-agent');
export const scheduler = servicePart('scheduler');
export const fencer = servicePart('fencer');
