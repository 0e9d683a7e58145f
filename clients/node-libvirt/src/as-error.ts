// SPDX-License-Identifier: Apache-2.0
/** JavaScript can throw anything; what is not an Error becomes one. */
export const asError = (thrown: unknown): Error => (thrown instanceof Error ? thrown : new Error(String(thrown)));
