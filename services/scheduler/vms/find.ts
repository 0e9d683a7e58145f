// SPDX-License-Identifier: Apache-2.0
import type { Vm } from '@lockstep/sdk/v1';
import { invalidField, LockstepError } from '../../core/errors/catalogue.js';
import type { Stored } from '../../core/records/codec.js';
import type { Leading } from '../term.js';

/** The VM with this UUID or name. Fails with VM_NOT_FOUND, or INVALID_FIELD where nothing was named. */
export function findVm(leading: Leading, idOrName: string): Stored<Vm> {
  if (idOrName === '') throw invalidField('vm', 'nothing', "a VM's UUID or name");
  const stored =
    leading.vms.get(idOrName.toLowerCase()) ?? leading.vms.all().find(({ record }) => record.name === idOrName);
  if (stored === undefined) throw new LockstepError('VM_NOT_FOUND', `there is no VM ${idOrName}`, { vm: idOrName });
  return stored;
}

const REQUEST_ID_LENGTH = 128;

/** Refuses request IDs that the store could not keep as a key. */
export function checkRequestId(requestId: string): void {
  if (requestId.length <= REQUEST_ID_LENGTH && /^[\w.:-]*$/.test(requestId)) return;
  throw invalidField(
    'request_id',
    `${String(requestId.length)} characters`,
    `at most ${String(REQUEST_ID_LENGTH)} of letters, digits, "_", ".", ":" and "-"`,
  );
}
