// SPDX-License-Identifier: Apache-2.0
import { HypervisorError } from './hypervisor.js';
import type { TransferCost } from './simulated-transfer.js';

/** What the source tells the target when all memory is sent. */
export interface PerformCookie {
  uuid: string;
  persistentXml: string;
  cost: TransferCost;
}

/** Cookies are opaque to everybody but the simulated hypervisors. */
export function cookieOf(content: object): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(content));
}

/** Undefined: no cookie came, because the source's word was lost. */
export function readPerformCookie(cookie: Uint8Array, uuid: string): PerformCookie | undefined {
  if (cookie.length === 0) return undefined;
  const content = JSON.parse(new TextDecoder().decode(cookie)) as PerformCookie;
  if (content.uuid === uuid) return content;
  throw new HypervisorError('refused', `the cookie is of domain ${content.uuid}`);
}
