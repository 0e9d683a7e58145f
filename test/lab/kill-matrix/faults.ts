// SPDX-License-Identifier: Apache-2.0
import { setTimeout as sleep } from 'node:timers/promises';
import {
  awaitPart,
  consulLeader,
  killPart,
  partNamed,
  plug,
  signalPart,
  startPart,
  type HostLayout,
  type Lab,
} from '#lab';
import type { Fault } from './cells.js';

const STOPPED_MS = 30_000;

/** Where a migration's parts are. */
export interface Scene {
  lab: Lab;
  guest: string;
  /** Where the leading Scheduler runs. */
  leader: HostLayout;
  source: HostLayout;
  target: HostLayout;
}

/** Something was broken. */
export interface Broken {
  /** How long the cluster may try to settle without what was broken, before that is brought back. */
  patienceMs: number;
  /** Brings back what was broken; a guest's QEMU is the cluster's own to bring back. */
  mend: () => Promise<void>;
}

/** The cluster settles without it. */
const SETTLES_ALONE_MS = 90_000;
/** The cluster can only wait for it: long enough to see that it does, and says so. */
const WAITS_MS = 4_000;
const CUT_MS = 20_000;

const nothing = (): Promise<void> => Promise.resolve();

/** Breaks something, as suddenly as it breaks in the world. */
export async function breakIt(fault: Fault, { lab, guest, leader, source, target }: Scene): Promise<Broken> {
  const kill = async (host: HostLayout, name: string, patienceMs: number): Promise<Broken> => {
    await killPart(host, name);
    const mend = async (): Promise<void> => {
      await startPart(lab, host, partNamed(name));
      await awaitPart(lab, host, partNamed(name));
    };
    return { patienceMs, mend };
  };
  const cut = async (host: HostLayout): Promise<Broken> => {
    await plug(host, 'a', false);
    return { patienceMs: CUT_MS, mend: () => plug(host, 'a', true) };
  };
  switch (fault) {
    case 'scheduler':
      return kill(leader, 'scheduler', SETTLES_ALONE_MS);
    case 'source agent':
      return kill(source, 'node-agent', WAITS_MS);
    case 'target agent':
      return kill(target, 'node-agent', WAITS_MS);
    case 'source libvirtd':
      return kill(source, 'libvirtd', WAITS_MS);
    case 'target libvirtd':
      return kill(target, 'libvirtd', WAITS_MS);
    case 'source QEMU':
      await killPart(source, `vm/${guest}`);
      return { patienceMs: 0, mend: nothing };
    case 'target QEMU':
      await killPart(target, `vm/${guest}`);
      return { patienceMs: 0, mend: nothing };
    case 'Consul leader': {
      const host = await consulLeader(lab);
      if (host === undefined) throw new Error('Consul has no leader');
      return kill(host, 'consul', SETTLES_ALONE_MS);
    }
    case 'source link':
      return cut(source);
    case 'target link':
      return cut(target);
    case 'SIGSTOP': {
      signalPart(leader, 'scheduler', 'SIGSTOP');
      const wakes = sleep(STOPPED_MS).then(() => {
        signalPart(leader, 'scheduler', 'SIGCONT');
      });
      wakes.catch(() => undefined);
      return { patienceMs: SETTLES_ALONE_MS, mend: () => wakes };
    }
  }
}
