// SPDX-License-Identifier: Apache-2.0
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { dirname } from 'node:path';
import { run, type Lab } from '../../deploy/lab/api.js';

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    // A process that ended while this looked, or a file of none.
    return '';
  }
}

function networkNamespaceOf(pid: string): string {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    return '';
  }
}

/** The network namespaces of the lab's hosts, by the kernel's own names, which outlive the ones in the file system. */
export async function hostNamespaces(lab: Lab): Promise<Set<string>> {
  const inodes = await Promise.all(
    lab.hosts.map(async (host) => (await run('stat', ['-L', '-c', '%i', `/run/netns/${host.namespace}`])).trim()),
  );
  return new Set(inodes.map((inode) => `net:[${inode}]`));
}

/**
 * Everything on this machine that belongs to the instance: processes, namespaces, devices, mounts and files.
 *
 * @param namespaces - the hosts' network namespaces while they were there: what runs in them is the lab's
 */
export async function leftovers(lab: Lab, namespaces: ReadonlySet<string>, contextFile: string): Promise<string[]> {
  const processes = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && name !== String(process.pid))
    .filter(
      (pid) => namespaces.has(networkNamespaceOf(pid)) || textOf(`/proc/${pid}/cmdline`).includes(`${lab.stateDir}/`),
    )
    .map((pid) => `process ${pid} ${textOf(`/proc/${pid}/cmdline`).replaceAll('\0', ' ')}`);
  const mine = new Set([
    ...Object.values(lab.networks).map((each) => each.bridge),
    ...lab.hosts.flatMap((host) => Object.values(host.links)),
  ]);
  const links = JSON.parse(await run('ip', ['-j', 'link', 'show'])) as { ifname: string }[];
  const spaces = (await run('ip', ['netns', 'list'])).split('\n').filter((line) => line.startsWith(`${lab.name}-`));
  const mounts = textOf('/proc/self/mountinfo')
    .split('\n')
    .filter((line) => line.includes(lab.stateDir) || line.includes(`/run/netns/${lab.name}-`));
  const folder = dirname(lab.stateDir);
  const files = existsSync(folder) ? readdirSync(folder).filter((name) => name.startsWith(lab.name)) : [];
  return [
    ...processes,
    ...links.filter((link) => mine.has(link.ifname)).map((link) => `device ${link.ifname}`),
    ...spaces.map((name) => `namespace ${name}`),
    ...mounts.map((line) => `mount ${line}`),
    ...files.map((name) => `file ${name}`),
    ...(existsSync(contextFile) ? [`file ${contextFile}`] : []),
  ];
}
