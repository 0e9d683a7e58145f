// SPDX-License-Identifier: Apache-2.0
import type { CommitRequest } from '@lockstep/sdk/v1';

/** What Commit says besides whom it is for. */
export type CommitInput = Pick<CommitRequest, 'cookie' | 'postCopy'>;
