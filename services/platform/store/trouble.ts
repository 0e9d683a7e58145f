// SPDX-License-Identifier: Apache-2.0
import { LockstepError } from '../../core/errors/catalogue.js';
import { StoreError } from './store.js';

/** What a failure of the store means to a caller of the API; any other error stays as it is. */
export function storeTrouble(error: unknown): unknown {
  return error instanceof StoreError ? refusalOf(error) : error;
}

/** The same where nothing but the store can have failed. */
export function refusalOf(error: StoreError): LockstepError {
  const options = { cause: error };
  switch (error.kind) {
    case 'unknown-outcome':
      return new LockstepError('OUTCOME_UNKNOWN', `the write may or may not have happened: ${error.message}`, {}, options);
    case 'denied':
      return new LockstepError(
        'STORE_DENIED',
        `the store refused the token: ${error.message}; want the one of this service in consul.token_file`,
        { field: 'consul.token_file' },
        options,
      );
    case 'invalid':
      return new LockstepError('INTERNAL', `the store did not take the write: ${error.message}`, {}, options);
    case 'unavailable':
    case 'deadline':
      return new LockstepError('STORE_UNAVAILABLE', `the store does not answer: ${error.message}`, {}, options);
  }
}
