// SPDX-License-Identifier: Apache-2.0
import type { ClusterOptions } from '@lockstep/sdk/v1';
import type { Limits } from '../core/migration/admission.js';

/** The operator's limits, or the defaults of the API. */
export function limitsOf(options: ClusterOptions | undefined): Limits {
  return {
    perCluster: options?.migrationsPerCluster ?? 10,
    outPerNode: options?.migrationsOutPerNode ?? 2,
    inPerNode: options?.migrationsInPerNode ?? 2,
  };
}
