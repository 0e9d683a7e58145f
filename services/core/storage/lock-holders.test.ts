// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { hostOf, ipOf, sortByHost } from './lock-holders.js';

describe('the address of a storage client', () => {
  it.each([
    ['10.77.4.1:0/1946555470', '10.77.4.1'],
    ['v1:10.77.4.1:0/7', '10.77.4.1'],
    ['[fd00::1]:0/5', 'fd00::1'],
    ['v2:[fd00::1]:3300/0', 'fd00::1'],
    ['-', undefined],
    ['', undefined],
    ['client.4117', undefined],
  ])('%s is of host %s', (address, ip) => {
    expect(ipOf(address)).toBe(ip);
  });
  it('host:port has a host', () => {
    expect(['h1:7701', '[fd00::1]:7701'].map(hostOf)).toEqual(['h1', 'fd00::1']);
  });
});

describe("who uses an image of a dead host's guest", () => {
  const lock = (address: string) => ({ holder: 'client.1', address });
  const host = { own: ['10.0.0.1', '192.168.122.1'], shared: new Set(['192.168.122.1']) };

  it('is of that host by its addresses alone, whether it holds the lock or only has the image open', () => {
    const use = { locks: [lock('10.0.0.1:0/1')], watchers: ['10.0.0.1:0/1', '10.0.0.1:0/2', '10.0.0.2:0/3'] };
    expect(sortByHost(use, host)).toEqual({
      toBreak: use.locks,
      toShutOut: ['10.0.0.1:0/1', '10.0.0.1:0/2'],
      foreign: [],
    });
  });

  it.each(['10.0.0.2:0/3', '10.0.0.11:0/3', '192.168.122.1:0/4', 'nonsense'])('is somebody else at %s', (address) => {
    const use = { locks: [lock(address)], watchers: [address] };
    expect(sortByHost(use, host)).toEqual({ toBreak: [], toShutOut: [], foreign: use.locks });
  });
});
