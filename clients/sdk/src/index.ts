// SPDX-License-Identifier: Apache-2.0
export { connect, type ConnectOptions, type Lockstep } from './connect.js';
export { ApiError, toApiError } from './errors.js';
export type { TlsFiles } from './transport/channel.js';
export type { CallLimits } from './transport/deadline.js';
export type { WaitOptions } from './wait.js';
export type { Watches, WatchLimits } from './watches.js';
export { isTerminal, type VmCondition } from './wait-for.js';
export * from './v1.js';
