// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { type Channel, ChannelCredentials, createChannel } from 'nice-grpc';

/** Paths of PEM files. Client and server both present a certificate and check the other's against the CA. */
export interface TlsFiles {
  caFile: string;
  certFile: string;
  keyFile: string;
}

/** The largest message either side takes, in bytes. Domain XML is at most 256 KiB; lists come in pages. */
export const MAX_MESSAGE_BYTES = 4 * 1024 * 1024;

/**
 * HTTP/2 pings on both sides: a stream whose peer vanished without a word ends after about 15 s instead of never.
 * The timeout is what a host under full load may take to answer a ping.
 */
export const KEEPALIVE_OPTIONS = {
  'grpc.keepalive_time_ms': 10_000,
  'grpc.keepalive_timeout_ms': 5_000,
  'grpc.keepalive_permit_without_calls': 1,
} as const;

const CHANNEL_OPTIONS = {
  ...KEEPALIVE_OPTIONS,
  'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
  'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
  // nice-grpc bounds a connection attempt by this option: a peer that accepts and stays silent fails the attempt.
  'grpc.min_reconnect_backoff_ms': 5_000,
  'grpc.initial_reconnect_backoff_ms': 200,
  'grpc.max_reconnect_backoff_ms': 2_000,
  // Cluster traffic never goes through a proxy that the environment happens to name.
  'grpc.enable_http_proxy': 0,
  'grpc.use_local_subchannel_pool': 1,
} as const;

/** Options that a caller may set for one channel. */
export interface ChannelSettings {
  tls?: TlsFiles | undefined;
  /** Overrides of gRPC's channel options, e.g. a shorter keepalive. */
  options?: Readonly<Record<string, string | number>> | undefined;
}

/** Reads a file that TLS needs; the error names the setting, never the content. */
export function readPem(setting: keyof TlsFiles, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new Error(`tls ${setting}: cannot read ${path}`, { cause: error });
  }
}

/** Opens a channel to host:port; it connects with the first call and then stays warm. */
export function openChannel(address: string, { tls, options }: ChannelSettings = {}): Channel {
  const credentials =
    tls === undefined
      ? ChannelCredentials.createInsecure()
      : ChannelCredentials.createSsl(
          readPem('caFile', tls.caFile),
          readPem('keyFile', tls.keyFile),
          readPem('certFile', tls.certFile),
        );
  return createChannel(address, credentials, { ...CHANNEL_OPTIONS, ...options });
}
