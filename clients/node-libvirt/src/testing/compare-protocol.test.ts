// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { compareWithProtocolFile } from './compare-protocol.js';
import { ProtocolFile } from './protocol-file.js';

// Written for this test, in the language of libvirt's interface file.
const FILE = `
const REMOTE_STRING_MAX = 4194304;
const LIST_MAX = 7;
typedef string remote_nonnull_string<REMOTE_STRING_MAX>;
typedef remote_nonnull_string *remote_string;
typedef opaque remote_uuid[VIR_UUID_BUFLEN];
/* A comment; with a semicolon. */
struct remote_nonnull_domain {
    remote_nonnull_string name;
    remote_uuid uuid;
    int id;
};
struct remote_domain_get_state_args {
    unsigned int flags;
    remote_nonnull_domain dom;
};
struct remote_domain_get_state_ret { /* insert@1 */
    int state;
    int reason;
};
struct remote_sample_args {
    char model[32];
    remote_string items<LIST_MAX>;
    unsigned hyper size;
};
enum remote_procedure {
    REMOTE_PROC_DOMAIN_GET_STATE = 213,
    REMOTE_PROC_DOMAIN_SUSPEND = 34
};
`;

describe('the comparison with an interface file', () => {
  it('reads numbers, types, bounds and optional values', () => {
    const file = new ProtocolFile(FILE);
    expect(file.procedureNumber('domainSuspend')).toBe(34);
    expect(file.layoutOf('remote_sample_args')).toEqual({
      kind: 'struct',
      fields: [
        ['model', { kind: 'chars', size: 32 }],
        ['items', { kind: 'array', size: 7, of: { kind: 'optional', of: { kind: 'string', size: 4_194_304 } } }],
        ['size', { kind: 'uhyper' }],
      ],
    });
  });

  it('names a wrong number, a wrong order and a procedure that is missing', () => {
    const found = compareWithProtocolFile(FILE);
    expect(found).toContain("domainGetState: our number is 212, libvirt's is 213");
    expect(found).toContain("domainGetState.args.dom: libvirt's is flags");
    expect(found).toContain("domainGetState.args.dom: ours is struct, libvirt's is uint");
    expect(found).toContain("domainResume: our number is 28, libvirt's is none");
    expect(found.filter((line) => line.startsWith('domainGetState.ret'))).toEqual([]);
    expect(found.filter((line) => line.startsWith('domainSuspend:'))).toEqual([]);
  });
});
