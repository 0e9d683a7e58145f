// SPDX-License-Identifier: Apache-2.0
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import {
  attemptVirsh,
  continuityOf,
  ensureImage,
  guestXml,
  hostNamed,
  until,
  virsh,
  type GuestKind,
} from '../../deploy/lab/api.js';
import { lab, ok, shown } from './mesh.js';

const COUNT_LIMIT_MS = 60_000;
/** About a second of counting. */
const A_SECOND = 18;

/** A guest that counts, under the mesh's care; looked at by virsh and by what it printed, not through our API. */
export interface TestGuest {
  readonly name: string;
  readonly id: string;
  readonly xml: string;
  /** Each host's own word: `running`, `paused`, `shut off`, or undefined where it knows no such domain. */
  states(): Promise<Record<string, string | undefined>>;
  /** Fails unless it runs on this host and no other knows of it. */
  runsOnlyOn(host: string): Promise<void>;
  /** Waits until it has counted on, and fails unless all hosts' files together are one count without a break. */
  countsOn(): Promise<void>;
  /** The placement epochs in both definitions that a host has of it. */
  epochsOn(host: string): Promise<{ live: string | undefined; persistent: string | undefined }>;
}

const made = new Set<string>();

/** Writes a domain's XML to a file for the CLI, for as long as `use` runs. */
export async function withXmlFile<T>(xml: string, use: (file: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'lockstep-shows-'));
  try {
    const file = join(folder, 'domain.xml');
    writeFileSync(file, xml);
    return await use(file);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * Defines and starts a guest on a host through the CLI, and returns once it counts.
 *
 * @param devices - XML of devices that it has besides
 * @param options - more of `vm define`
 */
export async function startGuest(
  host: string,
  kind: GuestKind = { kind: 'counter' },
  devices = '',
  options: readonly string[] = [],
): Promise<TestGuest> {
  const name = `${kind.kind}-${randomBytes(3).toString('hex')}`;
  const id = randomUUID();
  await ensureImage(lab, kind);
  const xml = guestXml(lab, { ...kind, name, uuid: id }).replace('</devices>', `${devices}</devices>`);
  made.add(name);
  await withXmlFile(xml, (file) => ok('vm', 'define', file, '--node', host, '--start', ...options));
  await ok('vm', 'start', name, '--wait');
  const guest = guestOf(name, id, xml);
  await guest.countsOn();
  return guest;
}

/** Takes every guest away that these tests started; fails where one cannot be. */
export async function removeGuests(): Promise<void> {
  const names = [...made];
  made.clear();
  const removals = names.map(async (name) => {
    await ok('vm', 'stop', name, '--force', '--wait', '--timeout', '90s');
    await ok('vm', 'undefine', name, '--yes');
  });
  const failed = (await Promise.allSettled(removals)).find((each) => each.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}

/** Asks for a live move and returns its ID at once. */
export async function beginMove(guest: TestGuest, target: string, ...options: string[]): Promise<string> {
  return (await ok('vm', 'migrate', guest.name, target, '--force-live', '-o', 'name', ...options)).trim();
}

/** Waits until memory of the guest is on its way. */
export async function transferring(id: string): Promise<void> {
  await until('memory is being sent', COUNT_LIMIT_MS, async () => {
    const { state, progress } = await shown<{ state: string; progress?: { memorySentBytes?: string } }>(
      ...['migration', 'show', id],
    );
    if (state !== 'MIGRATION_STATE_TRANSFERRING') return state;
    return Number(progress?.memorySentBytes ?? 0) > 0 ? undefined : 'nothing sent yet';
  });
}

/** A guest that somebody made otherwise and that the cluster is given to care for; it is taken away like the others. */
export function adopted(name: string, id: string, xml: string): TestGuest {
  made.add(name);
  return guestOf(name, id, xml);
}

function guestOf(name: string, id: string, xml: string): TestGuest {
  const stateOn = async (host: string): Promise<string | undefined> => {
    const { code, stdout, stderr } = await attemptVirsh(hostNamed(lab, host), ['domstate', id]);
    if (code === 0) return stdout.trim();
    if (/failed to get domain|Domain not found/.test(stderr)) return undefined;
    throw new Error(`virsh on ${host}: ${stderr.trim()}`);
  };
  const states = async (): Promise<Record<string, string | undefined>> =>
    Object.fromEntries(await Promise.all(lab.hosts.map(async (host) => [host.name, await stateOn(host.name)] as const)));
  return {
    name,
    id,
    xml,
    states,
    async runsOnlyOn(host) {
      const everywhere = Object.fromEntries(lab.hosts.map((each) => [each.name, undefined]));
      expect(await states()).toEqual({ ...everywhere, [host]: 'running' });
    },
    async countsOn() {
      const goal = continuityOf(lab, name).last + A_SECOND;
      await until(`${name} counts to ${goal}`, COUNT_LIMIT_MS, () => {
        const { ok: unbroken, last } = continuityOf(lab, name);
        return Promise.resolve(last >= goal || !unbroken ? undefined : `it is at ${last}`);
      });
      expect(continuityOf(lab, name)).toMatchObject({ ok: true });
    },
    async epochsOn(host) {
      const read = async (...options: string[]): Promise<string | undefined> => {
        const text = await virsh(hostNamed(lab, host), ['dumpxml', ...options, id]);
        return /<lockstep:placement epoch=['"](\d+)['"]\/>/.exec(text)?.[1];
      };
      return { live: await read(), persistent: await read('--inactive') };
    },
  };
}
