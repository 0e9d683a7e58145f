// SPDX-License-Identifier: Apache-2.0
import {
  attemptVirsh,
  continuityOf,
  down,
  ensureImage,
  guestXml,
  layout,
  serialFile,
  serversOf,
  up,
  type HostLayout,
} from '../lab/api.js';
import { readIfThere } from '../lab/files.js';
import type { CounterReading, Stage } from './stage.js';

/** Three hosts of real parts on this machine, by the lab. */
export async function realStage(report: (line: string) => void): Promise<Stage> {
  const lab = layout();
  await up(lab, { report });
  const [first, second, ...others] = lab.hosts.map(({ name }) => name);
  if (first === undefined || second === undefined) throw new Error('the lab has fewer than two hosts');
  return {
    servers: serversOf(lab),
    nodes: [first, second, ...others],
    async guestXml(name) {
      await ensureImage(lab, { kind: 'counter' });
      return guestXml(lab, { kind: 'counter', name });
    },
    counter(name): CounterReading {
      const continuity = continuityOf(lab, name);
      const perHost = lab.hosts.map((host) => `${host.name} ${lines(host, name)}`);
      return { value: continuity.last, perHost, broken: continuity.ok ? undefined : continuity.message };
    },
    domains: (name) => Promise.all(lab.hosts.map((host) => domainOn(host, name))),
    keepHint: 'npm run lab -- status; npm run lab -- down',
    async close() {
      await down(lab);
    },
  };
}

function lines(host: HostLayout, name: string): string {
  return `${(readIfThere(serialFile(host, name)) ?? '').split('\n').length - 1} values`;
}

async function domainOn(host: HostLayout, name: string): Promise<{ node: string; state: string; here: boolean }> {
  const { code, stdout, stderr } = await attemptVirsh(host, ['domstate', name]);
  const absent = code !== 0 && /failed to get domain|Domain not found/.test(stderr);
  if (code !== 0 && !absent) throw new Error(`virsh on ${host.name}: ${stderr.trim()}`);
  return { node: host.name, state: absent ? 'no such domain' : stdout.trim(), here: !absent };
}
