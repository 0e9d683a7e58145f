// SPDX-License-Identifier: Apache-2.0
export * from './v1.js';
