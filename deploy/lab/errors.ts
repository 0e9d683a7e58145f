// SPDX-License-Identifier: Apache-2.0

/** Something the person at the lab must know: one sentence, and what to do about it where that is known. */
export class LabError extends Error {
  override readonly name = 'LabError';

  constructor(
    message: string,
    readonly hint?: string,
  ) {
    super(message);
  }
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
