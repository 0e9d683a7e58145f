// SPDX-License-Identifier: Apache-2.0
import { Fenceability } from '@lockstep/sdk/v1';

/** Whether powering a node off would work, and why. One line, never a secret. */
export interface Finding {
  fenceability: Fenceability;
  detail: string;
}

/** What a BMC answered when it was asked, and what its credentials allow. */
export interface BmcAnswers {
  privilege: string;
  power: 'on' | 'off';
  /** 32 hexadecimal digits in the order of the BMC's bytes; undefined: it has none. */
  guid: string | undefined;
}

/** The node that the BMC should be of. */
export interface BmcOwner {
  node: string;
  hostUuid: string;
  /** The GUID it is configured to have, where that is not the host's UUID; 32 hexadecimal digits. */
  expectedGuid: string | undefined;
  isUp: boolean;
  /** UUIDs of all other hosts by node. */
  others: ReadonlyMap<string, string>;
}

/** Privileges of a BMC's user that suffice to switch the power. */
export const MAY_SWITCH: readonly string[] = ['operator', 'administrator'];

const bytesOf = (uuid: string): string[] => uuid.toLowerCase().replaceAll('-', '').match(/../g) ?? [];

/**
 * Whether a BMC's GUID is this UUID. The specification wants it with its last byte first; most BMCs send the host's UUID
 * as SMBIOS keeps it, the first three fields with their last byte first; others as it is written.
 */
export function isGuidOf(guid: string, uuid: string): boolean {
  const bytes = bytesOf(uuid);
  const smbios = [[0, 4], [4, 6], [6, 8]].flatMap(([from, to]) => bytes.slice(from, to).reverse()).concat(bytes.slice(8));
  return [bytes, smbios, bytes.toReversed()].some((order) => order.join('') === guid.toLowerCase());
}

export function fenceable(detail: string): Finding {
  return { fenceability: Fenceability.FENCEABLE, detail };
}

export function notFenceable(detail: string): Finding {
  return { fenceability: Fenceability.NOT_FENCEABLE, detail };
}

export function unknownFenceability(detail: string): Finding {
  return { fenceability: Fenceability.UNKNOWN, detail };
}

/** What follows from a BMC's answers: switching off the wrong machine is worse than switching off none. */
export function judgeBmc({ privilege, power, guid }: BmcAnswers, owner: BmcOwner): Finding {
  if (!MAY_SWITCH.includes(privilege)) {
    return notFenceable(`its user has the privilege ${privilege}, and switching the power needs operator`);
  }
  if (guid === undefined) return notFenceable('its BMC has no GUID: nothing proves whose power it switches');
  const { node, hostUuid, expectedGuid, isUp, others } = owner;
  const stranger = [...others].find(([, uuid]) => uuid !== '' && isGuidOf(guid, uuid));
  if (stranger !== undefined) return notFenceable(`its BMC is that of ${stranger[0]}, by its GUID ${guid}`);
  if (!isGuidOf(guid, expectedGuid ?? hostUuid)) {
    return notFenceable(`its BMC has the GUID ${guid}, and ${node} should have ${expectedGuid ?? hostUuid}`);
  }
  if (isUp && power === 'off') return notFenceable('its BMC says that the power is off, and the node is up');
  return fenceable(`its BMC answers, may switch the power, and says that it is ${power}`);
}
