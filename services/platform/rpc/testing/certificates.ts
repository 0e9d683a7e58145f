// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TlsFiles } from '@lockstep/sdk/transport';

/** A certificate authority of a test's own, in a folder that `remove` takes away. */
export interface TestAuthority {
  readonly caFile: string;
  /** A certificate for 127.0.0.1 and this URI, signed by the authority. */
  issue(name: string, uri: string): TlsFiles;
  remove(): void;
}

function openssl(folder: string, ...args: string[]): void {
  execFileSync('openssl', args, { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] });
}

const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

/** Makes a certificate authority with openssl. */
export function createTestAuthority(name = 'test'): TestAuthority {
  const folder = mkdtempSync(join(tmpdir(), 'lockstep-ca-'));
  const caFile = join(folder, 'ca.pem');
  const caKey = join(folder, 'ca.key');
  openssl(folder, 'req', '-x509', ...curve, '-keyout', caKey, '-out', caFile, '-days', '2', '-subj', `/CN=${name} CA`);
  return {
    caFile,
    issue: (who, uri) => {
      const [certFile, keyFile, request, extensions] = ['.pem', '.key', '.csr', '.ext'].map((end) =>
        join(folder, `${who}${end}`),
      ) as [string, string, string, string];
      openssl(folder, 'req', ...curve, '-keyout', keyFile, '-out', request, '-subj', `/CN=${who}`);
      writeFileSync(extensions, `subjectAltName=IP:127.0.0.1,URI:${uri}\n`);
      const signer = ['-CA', caFile, '-CAkey', caKey, '-CAcreateserial', '-days', '2'];
      openssl(folder, 'x509', '-req', '-in', request, '-out', certFile, '-extfile', extensions, ...signer);
      return { caFile, certFile, keyFile };
    },
    remove: () => {
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
