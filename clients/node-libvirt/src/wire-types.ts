// SPDX-License-Identifier: Apache-2.0
// The types that several procedures share, and the bounds of the protocol's lists and texts.
import { type Carried, array, int, opaque, optional, string, struct, uhyper, uuid } from './codec.js';
import { typedParams } from './typed-params.js';

export const LIMIT = {
  stringBytes: 4_194_304,
  cookieBytes: 4_194_304,
  domains: 16_384,
  statsPerDomain: 262_144,
  memoryStats: 1_024,
  nodeStats: 16,
  migrationParams: 64,
  jobStats: 64,
  authTypes: 20,
} as const;

export const text = string(LIMIT.stringBytes);
export const textOrNull = optional(text);
export const cookie = opaque(LIMIT.cookieBytes);

export const domain = struct({ name: text, uuid, id: int });

/** Domains by reference, as every call and every event names them. */
export interface DomainRef {
  readonly name: string;
  /** Lower case, with hyphens. */
  readonly uuid: string;
  /** libvirt's number of the running domain; -1 while it does not run. */
  readonly id: number;
}

export const migrationParams = typedParams(LIMIT.migrationParams);
export const jobStats = typedParams(LIMIT.jobStats);
export const statsRecords = array(struct({ dom: domain, params: typedParams(LIMIT.statsPerDomain) }), LIMIT.domains);
export const memoryStats = array(struct({ tag: int, val: uhyper }), LIMIT.memoryStats);
export const nodeStats = array(struct({ field: text, value: uhyper }), LIMIT.nodeStats);

export const errorReply = struct({
  code: int,
  domain: int,
  message: textOrNull,
  level: int,
  dom: optional(domain),
  str1: textOrNull,
  str2: textOrNull,
  str3: textOrNull,
  int1: int,
  int2: int,
  net: optional(struct({ name: text, uuid })),
});
export type WireError = Carried<typeof errorReply>;
