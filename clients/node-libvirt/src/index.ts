// SPDX-License-Identifier: Apache-2.0
export type { CallLoad, CallOptions } from './calls.js';
export { type ConnectOptions, Connection, connect } from './connection.js';
export * from './constants.js';
export { Domains } from './domains.js';
export type { DomainInfo, DomainStats, MetadataElement, StateAndReason, StatsQuery } from './domains.js';
export { type ErrorCodeName, ErrorCode, errorCodeName, errorDomainName } from './error-names.js';
export * from './errors.js';
export { Events } from './events.js';
export type {
  DomainEvent, EventKind, EventOf, JobCompletedEvent, LifecycleEvent, MigrationIterationEvent, SubscribeOptions,
} from './events.js';
export { type DomainCapabilitiesQuery, Host, type NodeInfo, type Version } from './host.js';
export { type JobFigures, Jobs, type JobStats } from './jobs.js';
export type { MemoryStats } from './memory-stats.js';
export { Migration } from './migration.js';
export type {
  Begun, MigrationEnd, MigrationParams, MigrationPhase, MigrationStep, PerformOptions, Prepared,
} from './migration.js';
export { type EventsLost, Subscription } from './subscription.js';
export { type TypedParam, type TypedParamValue, paramsToRecord } from './typed-params.js';
export type { DomainRef } from './wire-types.js';
