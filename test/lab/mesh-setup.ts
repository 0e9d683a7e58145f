// SPDX-License-Identifier: Apache-2.0
import { down } from '../../deploy/lab/api.js';
import { lab, meshEnv, staysUp } from './mesh.js';

async function clear(): Promise<void> {
  if (!staysUp) await down(lab, { env: meshEnv });
}

/** Around a whole run: what an earlier one left goes first, and what this one made goes at the end. */
export default async function setup(): Promise<() => Promise<void>> {
  await clear();
  return clear;
}
