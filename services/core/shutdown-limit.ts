// SPDX-License-Identifier: Apache-2.0
import type { VmSpec } from '@lockstep/sdk/v1';
import { milliseconds } from './duration.js';

const DEFAULT_LIMIT_MS = 180_000;

/** How long a guest may take to shut down before it is forced, in milliseconds. */
export function shutdownLimitMs(spec: VmSpec | undefined): number {
  return milliseconds(spec?.shutdownLimit, DEFAULT_LIMIT_MS);
}
