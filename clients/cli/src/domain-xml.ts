// SPDX-License-Identifier: Apache-2.0
import { open } from 'node:fs/promises';
import { messageOf } from './context-file.js';
import { usageError } from './exit.js';
import type { Terminal } from './terminal.js';

/** The most that a domain's XML may take; the Scheduler refuses more. */
export const DOMAIN_XML_LIMIT_BYTES = 256 * 1024;

/** Domain XML from a file, or from stdin for "-". Throws a usage error for anything that cannot be domain XML. */
export async function readDomainXml(path: string, terminal: Terminal): Promise<string> {
  const from = path === '-' ? 'stdin' : path;
  const bytes = path === '-' ? await terminal.readStdin(DOMAIN_XML_LIMIT_BYTES) : await readFile(path);
  if (bytes === undefined) {
    const limit = String(DOMAIN_XML_LIMIT_BYTES / 1024);
    throw usageError('DOMAIN_XML_TOO_LARGE', `${from} holds more than ${limit} KiB, the most a domain's XML may take`);
  }
  const text = decode(bytes, from);
  if (text.trim() === '') throw usageError('INVALID_DOMAIN_XML', `${from} is empty; want libvirt's domain XML`);
  return text;
}

/** The file's content; undefined where it is too large, which a pipe or a device tells only when it is read. */
async function readFile(path: string): Promise<Buffer | undefined> {
  let file;
  try {
    file = await open(path, 'r');
    const kind = await file.stat();
    if (kind.isDirectory()) throw new Error('it is a directory');
    const buffer = Buffer.alloc(DOMAIN_XML_LIMIT_BYTES + 1);
    let length = 0;
    while (length < buffer.length) {
      const { bytesRead } = await file.read(buffer, length, buffer.length - length, null);
      if (bytesRead === 0) return buffer.subarray(0, length);
      length += bytesRead;
    }
    return undefined;
  } catch (error) {
    throw usageError('FILE_UNREADABLE', `${path} cannot be read: ${messageOf(error)}`, 'lockstep vm define --help');
  } finally {
    await file?.close();
  }
}

function decode(bytes: Buffer, from: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw usageError('INVALID_DOMAIN_XML', `${from} is not UTF-8 text; want libvirt's domain XML`);
  }
}
