// SPDX-License-Identifier: Apache-2.0
import { down } from '../../deploy/lab/api.js';
import { lab, meshEnv, staysUp } from './mesh.js';

/** Around a whole run: what an earlier one left goes first, and what this one made goes at the end. */
export async function setup(): Promise<void> {
  if (!staysUp) await down(lab, { env: meshEnv });
}

export const teardown = setup;
