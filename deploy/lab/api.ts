// SPDX-License-Identifier: Apache-2.0
import { readIfThere } from './files.js';
import { checkContinuity, type Continuity } from './counter.js';
import { serialFile } from './guests.js';
import type { Lab } from './layout.js';

// The lab for programs: tests, the demo and the benchmarks.

export { bmcMode, setBmcMode } from './bmc.js';
export { attemptCeph, ceph, cephDaemons, cephState, signalCeph, type CephDaemon } from './ceph.js';
export { agentUser, cephConfigFile, hostCephConfigFile } from './ceph-files.js';
export { rbdDisk, rbdGenerationOf, rbdLocks, removeRbdDisk, type RbdDisk, type RbdLock } from './rbd.js';
export { chassisPower, credentialsOf, ipmiPort, type DeviceName } from './bmc-device.js';
export { bmcModeNames, bmcModes, type BmcMode } from './bmc-modes.js';
export { consulLeader, consulPort } from './consul.js';
export { ports, serversOf, useOneNetwork, useFencerTimes, type FencerTimes } from './configs.js';
export { checkContinuity, formatCount, type Continuity, type SerialOutput } from './counter.js';
export { closeDisk, generationOf, lockedDisk, openDisk, type Disk, type LockedDisk } from './disks.js';
export { LabError } from './errors.js';
export { ensureImage, guestXml, serialFile, type Guest, type GuestKind } from './guests.js';
export { inside, isBooted, isPoweredOn, logFileOf, processesOf } from './host.js';
export { hostNamed, layout, type HostLayout, type Lab } from './layout.js';
export { attemptVirsh, libvirtUri, virsh } from './libvirtd.js';
export { limit, plug } from './network.js';
export { killPart, signalPart, startPart, awaitPart, partNamed, partState } from './parts.js';
export { attempt, run, until, type Outcome } from './shell.js';
export { status, type HostStatus } from './status.js';
export { isGone } from './supervise.js';
export { crashHost, rebootHost, down, power, startHost, up, type UpOptions } from './up.js';
export { watchdogDevice, watchdogSeconds } from './watchdog.js';

/** Checks what a guest printed on all hosts together. */
export function continuityOf(lab: Lab, guest: string): Continuity {
  return checkContinuity(
    lab.hosts.map((host) => ({ host: host.name, text: readIfThere(serialFile(host, guest)) ?? '' })),
  );
}
