// SPDX-License-Identifier: Apache-2.0
import { connect, createServer, type Server } from 'node:net';
import { LabError, messageOf } from './errors.js';
import type { Lab } from './layout.js';
import { until } from './shell.js';

/**
 * Runs `work` while no other command changes this instance of the lab.
 *
 * The lock is a socket with an abstract name: the kernel gives it up with the process that holds it, however that
 * ends, and there is no file to go stale. Who connects to it is told who holds it.
 */
export async function exclusively<T>(lab: Lab, verb: string, work: () => Promise<T>, limitMs = 180_000): Promise<T> {
  const name = `\0lockstep-lab/${lab.name}`;
  let server: Server | undefined;
  await until(`turn to change lab ${lab.name}`, limitMs, async () => {
    server = await tryListen(name, `${verb} (process ${process.pid} of ${lab.checkout})`);
    return server === undefined ? `${await holderOf(name)} is at work` : undefined;
  });
  try {
    return await work();
  } finally {
    server?.close();
  }
}

function tryListen(name: string, introduction: string): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => {
      socket.on('error', () => socket.destroy());
      socket.end(introduction);
    });
    server.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(undefined);
      else reject(new LabError(`cannot take the lab's lock: ${messageOf(error)}`));
    });
    server.listen(name, () => {
      server.unref();
      resolve(server);
    });
  });
}

function holderOf(name: string): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    const socket = connect(name);
    const answer = () => {
      socket.destroy();
      resolve(text === '' ? 'another command' : text);
    };
    socket.setTimeout(1_000, answer);
    socket.on('data', (chunk) => (text += chunk.toString()));
    socket.on('error', answer);
    socket.on('end', answer);
  });
}
