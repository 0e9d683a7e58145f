// SPDX-License-Identifier: Apache-2.0
// What libvirt does where a migration's phases are broken off inside: asked of real daemons, told line by line. The
// answers stand in ARCHITECTURE.md; this is for another release of libvirt.
import { randomUUID } from 'node:crypto';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { withPlacementEpoch } from '@lockstep/services/core/domain-xml/epoch.js';
import { systemClock } from '@lockstep/services/platform/clock/system.js';
import type { IncomingMigration, OutgoingMigration } from '@lockstep/services/platform/hypervisor/hypervisor.js';
import { createLibvirtHypervisor } from '@lockstep/services/platform/hypervisor/libvirt.js';
import {
  attemptVirsh,
  awaitPart,
  closeDisk,
  down,
  ensureImage,
  guestXml,
  killPart,
  layout,
  openDisk,
  partNamed,
  serialFile,
  startPart,
  up,
  type HostLayout,
} from '#lab';

const LIMIT = { deadlineMs: 60_000 };
/** Memory takes some seconds, so that there is an inside to break into. */
const SETTINGS = { bandwidthBytesPerSecond: 4n * 1024n * 1024n, maxDowntimeMs: 300, autoConverge: false, postCopy: false };
const LONGER_THAN_THE_TRANSFER_MS = 12_000;

interface Scene {
  guest: string;
  source: HostLayout;
  target: HostLayout;
  outgoing: OutgoingMigration;
  incoming: IncomingMigration;
  /** Resolves when Perform has ended, however it did. */
  performed: Promise<void>;
}

const lab = layout({ ...process.env, LOCKSTEP_LAB: process.env['LOCKSTEP_LAB'] ?? 'lsa32' });
const libvirtd = partNamed('libvirtd');

function say(line: string): void {
  process.stdout.write(`  ${line}\n`);
}

const told = (what: string, work: Promise<unknown>): Promise<void> =>
  work.then(
    () => {
      say(`${what} ended`);
    },
    (error: unknown) => {
      say(`${what} failed: ${error instanceof Error ? error.message : String(error)}`);
    },
  );

const sizeOf = (host: HostLayout, guest: string): number =>
  statSync(serialFile(host, guest), { throwIfNoEntry: false })?.size ?? 0;

/** Each host's own word on the guest, and whether it counts there. */
async function look({ guest, source, target }: Scene): Promise<void> {
  for (const [role, host] of [['source', source], ['target', target]] as const) {
    const before = sizeOf(host, guest);
    const { code, stdout, stderr } = await attemptVirsh(host, ['domstate', '--reason', guest], 5_000);
    await sleep(600);
    const state = code === 0 ? stdout.trim() : (stderr.trim().split('\n')[0] ?? '');
    say(`${role}: ${state}${sizeOf(host, guest) > before ? ', it counts' : ''}`);
  }
}

async function restart(host: HostLayout): Promise<void> {
  await startPart(lab, host, libvirtd);
  await awaitPart(lab, host, libvirtd);
  say('libvirtd is back');
  await sleep(3_000);
}

const finish = ({ incoming }: Scene): Promise<void> => told('Finish', incoming.finish({ cookie: new Uint8Array() }, LIMIT));

const QUESTIONS: Record<string, (scene: Scene) => Promise<void>> = {
  'Finish on a guest whose memory is incomplete': async (scene) => {
    const finished = finish(scene);
    await sleep(1_000);
    await look(scene);
    await Promise.all([finished, scene.performed]);
    await look(scene);
  },
  'the connection is closed inside Finish': async (scene) => {
    void finish(scene);
    await sleep(500);
    scene.incoming.close();
    await look(scene);
    await scene.performed;
    await sleep(1_000);
    await look(scene);
  },
  "the source's libvirtd is killed in Perform and started at once": async (scene) => {
    await killPart(scene.source, 'libvirtd');
    await look(scene);
    await restart(scene.source);
    await look(scene);
  },
  "the source's libvirtd is killed in Perform and started after the transfer": async (scene) => {
    await killPart(scene.source, 'libvirtd');
    await sleep(LONGER_THAN_THE_TRANSFER_MS);
    await look(scene);
    await restart(scene.source);
    await look(scene);
  },
  "the target's libvirtd is killed inside Finish and started at once": async (scene) => {
    void finish(scene);
    await sleep(500);
    await killPart(scene.target, 'libvirtd');
    await restart(scene.target);
    await scene.performed;
    await look(scene);
  },
  "the target's libvirtd is killed inside Finish and started after the transfer": async (scene) => {
    void finish(scene);
    await sleep(500);
    await killPart(scene.target, 'libvirtd');
    await scene.performed;
    await look(scene);
    await restart(scene.target);
    await look(scene);
  },
};

/** A guest in mid-transfer, driven phase by phase without any of our services. */
async function ask(question: string, answer: (scene: Scene) => Promise<void>, number: number): Promise<void> {
  process.stdout.write(`${question}\n`);
  const [source, target] = lab.hosts;
  if (source === undefined || target === undefined) throw new Error('the lab has fewer than two hosts');
  const [guest, uuid] = [`answer-${number}`, randomUUID()];
  const disk = await openDisk(lab, guest);
  const kind = { kind: 'generation', disk } as const;
  await ensureImage(lab, kind);
  const hypervisorOf = ({ libvirtSocket, addresses }: HostLayout) =>
    createLibvirtHypervisor({
      clock: systemClock,
      socketPath: libvirtSocket,
      uri: 'qemu:///system',
      migrateUri: `tcp://${addresses.a}`,
    });
  const from = hypervisorOf(source);
  await from.define(withPlacementEpoch(guestXml(lab, { ...kind, name: guest, uuid }), 1n), LIMIT);
  await from.start(uuid, LIMIT);
  await sleep(3_000);
  const outgoing = await from.openOutgoing(uuid, LIMIT);
  const { liveXml, persistentXml, cookie, paused } = await outgoing.begin(LIMIT);
  const incoming = await hypervisorOf(target).openIncoming(uuid, LIMIT);
  const stamped = { liveXml: withPlacementEpoch(liveXml, 2n), persistentXml: withPlacementEpoch(persistentXml, 2n) };
  const prepared = await incoming.prepare({ ...stamped, cookie, paused, settings: SETTINGS }, LIMIT);
  const performing = outgoing.perform({ ...prepared, settings: SETTINGS, persistentXml: stamped.persistentXml });
  const scene = { guest, source, target, outgoing, incoming, performed: told('Perform', performing) };
  await sleep(1_000);
  await answer(scene);
  outgoing.close();
  incoming.close();
  for (const host of [source, target]) {
    await attemptVirsh(host, ['destroy', guest]);
    await attemptVirsh(host, ['undefine', guest]);
  }
  await closeDisk(lab, disk);
}

const env = { ...process.env, XDG_CONFIG_HOME: join(lab.stateDir, 'context') };
try {
  await up(lab, { withServices: false, env });
  for (const [number, [question, answer]] of Object.entries(QUESTIONS).entries()) await ask(question, answer, number);
} catch (error) {
  process.exitCode = 1;
  process.stderr.write(`failed: ${error instanceof Error ? error.message : String(error)}\n`);
} finally {
  await down(lab, { env });
}
process.exit();
