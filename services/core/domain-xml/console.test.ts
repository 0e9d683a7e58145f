// SPDX-License-Identifier: Apache-2.0
import { expect, it } from 'vitest';
import { consoleOf } from './console.js';

const domain = (devices: string): string => `<domain><devices>${devices}</devices></domain>`;

it.each([
  ['a file', "<serial type='file'><source path='/log/a'/></serial>", { kind: 'file', path: '/log/a' }],
  ['a terminal', "<serial type='pty'><source path='/dev/pts/3'/></serial>", { kind: 'pty', path: '/dev/pts/3' }],
  ['a terminal by its attribute', "<console type='pty' tty='/dev/pts/4'/>", { kind: 'pty', path: '/dev/pts/4' }],
  [
    "a terminal's log before the terminal",
    "<serial type='pty'><source path='/dev/pts/3'/><log file='/log/b' append='on'/></serial>",
    { kind: 'file', path: '/log/b' },
  ],
  [
    'a file of another port before a terminal',
    "<serial type='pty'><source path='/dev/pts/3'/></serial><serial type='file'><source path='/log/a'/></serial>",
    { kind: 'file', path: '/log/a' },
  ],
  ['none over the network', "<serial type='tcp'><source host='h' service='1'/></serial>", undefined],
  ['none without a path', "<serial type='pty'/>", undefined],
  ['none at all', '', undefined],
])('finds %s', (_what, devices, place) => {
  expect(consoleOf(domain(devices))).toEqual(place);
});
