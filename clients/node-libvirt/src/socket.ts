// SPDX-License-Identifier: Apache-2.0
import { type Socket, createConnection } from 'node:net';
import { LibvirtAbortedError, LibvirtConnectError } from './errors.js';

const HINTS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such socket; is libvirtd or virtqemud running?',
  ECONNREFUSED: 'nobody listens on it; is libvirtd or virtqemud running?',
  EACCES: 'permission denied; the socket belongs to root or to the group libvirt',
};

/** Opens a UNIX socket within a time limit. Nothing is left behind if it fails. */
export function openSocket(socketPath: string, timeoutMs: number, signal?: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) {
      reject(new LibvirtAbortedError({ procedure: 'connect', sent: false }, signal.reason));
      return;
    }
    const socket = createConnection(socketPath);
    const settle = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      socket.off('error', onError);
      socket.off('connect', onConnect);
    };
    const fail = (error: Error): void => {
      settle();
      // A socket that is destroyed may still report an error that nobody waits for.
      socket.on('error', () => undefined);
      socket.destroy();
      reject(error);
    };
    const onConnect = (): void => {
      settle();
      resolve(socket);
    };
    const onError = (error: NodeJS.ErrnoException): void => {
      fail(new LibvirtConnectError(socketPath, HINTS[error.code ?? ''] ?? error.message, { cause: error }));
    };
    const onAbort = (): void => {
      fail(new LibvirtAbortedError({ procedure: 'connect', sent: false }, signal?.reason));
    };
    const timer = setTimeout(() => {
      fail(new LibvirtConnectError(socketPath, `no connection within ${String(timeoutMs)} ms`));
    }, timeoutMs);
    socket.on('error', onError);
    socket.on('connect', onConnect);
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}
