// SPDX-License-Identifier: Apache-2.0
import { isIP } from 'node:net';
import { z } from 'zod';

/** Parts that the services' configurations share. Keys as in the file; what comes out is as the code names things. */

function isHostPort(text: string, lowestPort: number): boolean {
  const [, host = '', port = ''] = /^(\[[^\]]+\]|[^:[\]]+):(\d{1,5})$/.exec(text) ?? [];
  if (Number(port) < lowestPort || Number(port) > 65_535) return false;
  return host !== '' && (!host.startsWith('[') || isIP(host.slice(1, -1)) === 6);
}

function isCidr(text: string): boolean {
  const [address = '', bits = ''] = text.split('/', 2);
  return isIP(address) !== 0 && /^\d{1,3}$/.test(bits) && Number(bits) <= (isIP(address) === 6 ? 128 : 32);
}

/** Where something is reached: host:port, e.g. `10.0.0.1:7701`; an IPv6 address in brackets. */
export const addressSchema = z.string().refine((text) => isHostPort(text, 1), 'host:port, e.g. 10.0.0.1:7701');

/** Where a service listens: the same, and port 0 takes a free one. */
export const listenSchema = z.string().refine((text) => isHostPort(text, 0), 'host:port, e.g. 10.0.0.1:7701');

/** Where metrics and health are told over HTTP; `off`: nowhere. */
export const metricsListenSchema = z
  .string()
  .refine((text) => text === 'off' || isHostPort(text, 0), 'host:port, e.g. 10.0.0.1:7711, or off');

/** PEM files of TLS; all three or none. */
export const tlsSchema = z
  .strictObject({ ca_file: z.string().min(1), cert_file: z.string().min(1), key_file: z.string().min(1) })
  .transform(({ ca_file, cert_file, key_file }) => ({ caFile: ca_file, certFile: cert_file, keyFile: key_file }));

/** Networks from which plain text is accepted, beside loopback. */
export const insecureSchema = z
  .strictObject({ allow_cidrs: z.array(z.string().refine(isCidr, 'ADDRESS/BITS, e.g. 10.0.0.0/24')).default([]) })
  .transform(({ allow_cidrs }) => ({ allowCidrs: allow_cidrs }));

/** The local Consul agent. The token is read from its file (`readSecret`). */
export const consulSchema = z
  .strictObject({
    address: addressSchema.default('127.0.0.1:8500'),
    token_file: z.string().min(1).optional(),
    tls: tlsSchema.optional(),
  })
  .transform(({ address, token_file, tls }) => ({ address, tokenFile: token_file, tls }));
