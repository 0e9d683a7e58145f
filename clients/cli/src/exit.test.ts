// SPDX-License-Identifier: Apache-2.0
import { ApiError, Status } from '@lockstep/sdk/errors';
import { describe, expect, it } from 'vitest';
import { exitCodeOf } from './exit.js';

describe('exitCodeOf', () => {
  it.each([
    ['INVALID_FIELD', Status.INVALID_ARGUMENT, 2],
    ['VM_NOT_FOUND', Status.NOT_FOUND, 3],
    ['VM_NAME_TAKEN', Status.ALREADY_EXISTS, 4],
    ['SAME_NODE', Status.FAILED_PRECONDITION, 4],
    ['ETAG_MISMATCH', Status.ABORTED, 4],
    ['QUEUE_FULL', Status.RESOURCE_EXHAUSTED, 4],
    ['NO_LEADER', Status.UNAVAILABLE, 5],
    ['DEADLINE', Status.DEADLINE_EXCEEDED, 5],
    ['OUTCOME_UNKNOWN', Status.UNAVAILABLE, 7],
    ['NOT_ALLOWED', Status.PERMISSION_DENIED, 1],
    ['INTERNAL', Status.INTERNAL, 1],
    ['A_REASON_OF_TOMORROW', Status.DATA_LOSS, 1],
  ])('%s exits %3$i', (reason, code, exitCode) => {
    expect(exitCodeOf(new ApiError('it is so', { reason, code }))).toBe(exitCode);
  });
});
