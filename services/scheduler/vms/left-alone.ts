// SPDX-License-Identifier: Apache-2.0
import { DisarmMode } from '@lockstep/sdk/v1';
import { keys, nameOf } from '../../core/records/keys.js';
import type { Leading } from '../term.js';

const ARMING = nameOf(keys.arming);

/** Whether all VMs are left to their owners: the Fencer was disarmed with IGNORE. */
export function leftAlone({ arming }: Pick<Leading, 'arming'>): boolean {
  return arming.get(ARMING)?.record.mode === DisarmMode.IGNORE;
}
