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
