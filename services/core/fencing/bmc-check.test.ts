// SPDX-License-Identifier: Apache-2.0
import { Fenceability } from '@lockstep/sdk/v1';
import { describe, expect, it } from 'vitest';
import { isGuidOf, judgeBmc, type BmcAnswers, type BmcOwner } from './bmc-check.js';
import { bmcVerdict, type BmcCheck } from './bmc-verdict.js';

const UUID = '00112233-4455-6677-8899-aabbccddeeff';
const OTHER = 'ffeeddcc-bbaa-9988-7766-554433221100';
const AS_WRITTEN = '00112233445566778899aabbccddeeff';

const judged = (answers: Partial<BmcAnswers>, owner: Partial<BmcOwner> = {}) =>
  judgeBmc(
    { privilege: 'operator', power: 'on', guid: AS_WRITTEN, ...answers },
    { node: 'h1', hostUuid: UUID, expectedGuid: undefined, isUp: true, others: new Map([['h2', OTHER]]), ...owner },
  );

describe("a BMC's GUID", () => {
  it.each([
    ['as it is written', AS_WRITTEN],
    ['as SMBIOS keeps it', '33221100554477668899aabbccddeeff'],
    ['with its last byte first, as the specification wants it', 'ffeeddccbbaa99887766554433221100'],
  ])("is the host's UUID %s", (_, guid) => {
    expect(isGuidOf(guid, UUID)).toBe(true);
    expect(isGuidOf(guid.toUpperCase(), UUID.toUpperCase())).toBe(true);
  });

  it.each([['2233110055447766889 9aabbccddeeff'], ['00112233445566778899aabbccddeefe'], ['']])('is not %s', (guid) => {
    expect(isGuidOf(guid, UUID)).toBe(false);
  });
});

describe('a BMC that answers', () => {
  it('can fence its node', () => {
    expect(judged({}, { others: new Map([['h2', '12345678-4455-6677-8899-aabbccddeeff']]) })).toEqual({
      fenceability: Fenceability.FENCEABLE,
      detail: 'its BMC answers, may switch the power, and says that it is on',
    });
  });

  it.each<[string, Partial<BmcAnswers>, Partial<BmcOwner>, RegExp]>([
    ['whose user may only look', { privilege: 'user' }, {}, /has the privilege user.*needs operator/],
    ['without a GUID', { guid: undefined }, {}, /no GUID/],
    ["with another node's GUID", {}, { others: new Map([['h3', UUID]]) }, /is that of h3/],
    ["with nobody's GUID", { guid: '0123456789abcdef0123456789abcdef' }, {}, /GUID 0123.*h1 should have 0011/],
    ['that says off of a node that is up', { power: 'off' }, { others: new Map() }, /power is off, and the node is up/],
  ])('%s cannot', (_, answers, owner, why) => {
    const { fenceability, detail } = judged(answers, owner);
    expect(fenceability).toBe(Fenceability.NOT_FENCEABLE);
    expect(detail).toMatch(why);
  });

  it('may say off of a node that is down, and may have a GUID of its own', () => {
    const none = new Map<string, string>();
    expect(judged({ power: 'off' }, { isUp: false, others: none }).fenceability).toBe(Fenceability.FENCEABLE);
    const guid = 'aaaabbbbccccddddeeeeffff00001111';
    expect(judged({ guid }, { expectedGuid: guid, others: none }).fenceability).toBe(Fenceability.FENCEABLE);
  });
});

describe('whether fencing would work', () => {
  const [yes, no, unknown] = [Fenceability.FENCEABLE, Fenceability.NOT_FENCEABLE, Fenceability.UNKNOWN];
  const by = (observer: string, fenceability: Fenceability, detail = 'because'): BmcCheck => ({
    observer,
    fenceability,
    detail,
    atMs: 0,
  });

  it.each<[string, BmcCheck[], Fenceability, string]>([
    ['is not known before anybody checked', [], unknown, 'its BMC has not been checked yet'],
    ['is what both peers say', [by('h2', yes), by('h3', yes)], yes, 'h2 and h3: because'],
    ['is no where one peer says so', [by('h2', yes), by('h3', no, 'wrong')], no, 'h3: wrong'],
    ['is what peers say where the node itself cannot', [by('h1', no, 'shared port'), by('h2', yes)], yes, 'h2: because'],
    ['is what one peer says where the other cannot tell', [by('h2', unknown), by('h3', yes)], yes, 'h3: because'],
    ["is the node's no where no peer can tell", [by('h1', no, 'wrong'), by('h2', unknown)], no, 'h1: wrong'],
    ["is not known by the node's yes alone", [by('h1', yes)], unknown, 'no peer could check it; h1: because'],
    ['is not known where nobody can tell', [by('h1', yes), by('h2', unknown, 'none')], unknown, 'h2: none'],
  ])('%s', (_, checks, fenceability, detail) => {
    expect(bmcVerdict('h1', checks)).toEqual({ fenceability, detail });
  });
});
