// SPDX-License-Identifier: Apache-2.0

/** The version of this build, the same in all packages. */
export const VERSION = '0.1.0';
