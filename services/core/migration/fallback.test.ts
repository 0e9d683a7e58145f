// SPDX-License-Identifier: Apache-2.0
import { expect, it } from 'vitest';
import { CATALOGUE } from '../errors/catalogue.js';
import { rulesOutLive } from './fallback.js';

it('shuts a guest down for reasons of the guest or the target, and for no others', () => {
  expect(Object.keys(CATALOGUE).filter(rulesOutLive).sort()).toEqual(['HYPERVISOR_REFUSED', 'NOT_CONVERGED']);
  for (const reason of ['CANCELLED', 'LOST_CONTACT', 'NODE_UNREACHABLE', 'STORE_UNAVAILABLE', 'OUTCOME_UNKNOWN', 'NO_FIT', 'DEADLINE', '', 'nosuch']) {
    expect(rulesOutLive(reason)).toBe(false);
  }
});
