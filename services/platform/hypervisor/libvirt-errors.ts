// SPDX-License-Identifier: Apache-2.0
import {
  type ErrorCodeName,
  isLibvirtError,
  LibvirtAbortedError,
  LibvirtBusyError,
  LibvirtClosedError,
  LibvirtConnectError,
  LibvirtDeadlineError,
  LibvirtError,
} from '@lockstep/node-libvirt';
import { Cancelled } from '../clock/clock.js';
import { HypervisorError, type HypervisorErrorKind } from './hypervisor.js';

/** What libvirt's own errors mean; every other code is `failed`. */
const KINDS: Partial<Record<ErrorCodeName, HypervisorErrorKind>> = {
  NO_DOMAIN: 'gone',
  OPERATION_ABORTED: 'aborted',
  XML_ERROR: 'invalid',
  XML_DETAIL: 'invalid',
  XML_INVALID_SCHEMA: 'invalid',
  INVALID_ARG: 'invalid',
  INVALID_MAC: 'invalid',
  NO_NAME: 'invalid',
  NO_OS: 'invalid',
  OS_TYPE: 'invalid',
  OPERATION_INVALID: 'refused',
  OPERATION_DENIED: 'refused',
  OPERATION_UNSUPPORTED: 'refused',
  ARGUMENT_UNSUPPORTED: 'refused',
  CONFIG_UNSUPPORTED: 'refused',
  CPU_INCOMPATIBLE: 'refused',
  MIGRATE_UNSAFE: 'refused',
  ACCESS_DENIED: 'refused',
  NO_SUPPORT: 'refused',
  DOM_EXIST: 'refused',
  RESOURCE_BUSY: 'locked',
};

/**
 * What QEMU says where it does not get the lock of an image; libvirt has no code of its own for it, and gives QEMU's last
 * words with the end of the process. RESOURCE_BUSY comes from its own lock managers (virtlockd, sanlock).
 */
const LOCK_REFUSED = /Failed to get (?:shared )?"[a-z ]+" lock|Failed to lock byte \d+|Is another process using the image/;

/** The port's word for whatever a call to libvirt threw. */
export function translate(error: unknown): Error {
  if (error instanceof HypervisorError || error instanceof Cancelled) return error;
  if (error instanceof LibvirtAbortedError) return new Cancelled(error.procedure, error.cause);
  return new HypervisorError(kindOf(error), messageOf(error), { cause: error });
}

function kindOf(error: unknown): HypervisorErrorKind {
  if (error instanceof LibvirtDeadlineError) return 'deadline';
  if (error instanceof LibvirtError) {
    const names: Partial<Record<string, HypervisorErrorKind>> = KINDS;
    const kind = names[error.codeName] ?? 'failed';
    return kind === 'failed' && LOCK_REFUSED.test(error.message) ? 'locked' : kind;
  }
  const down = [LibvirtClosedError, LibvirtConnectError, LibvirtBusyError];
  return down.some((type) => error instanceof type) ? 'down' : 'failed';
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** In a migration's own phases libvirt says "operation invalid" when it knows of no such migration. */
export async function ofMigration<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (isLibvirtError(error, 'OPERATION_INVALID')) {
      throw new HypervisorError('no-job', error.message, { cause: error });
    }
    throw translate(error);
  }
}
