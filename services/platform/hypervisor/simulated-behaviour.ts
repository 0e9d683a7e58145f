// SPDX-License-Identifier: Apache-2.0
import { parseDocument, quoted } from '../../core/domain-xml/document.js';
import { lockstepElement, onlyOurs } from '../../core/domain-xml/epoch.js';
import { parseSize } from '../../core/domain-xml/memory-size.js';
import { HypervisorError } from './hypervisor.js';

/** How a simulated guest behaves. */
export interface GuestBehaviour {
  /** How fast it writes to its memory, in bytes per second. */
  dirtyRateBytesPerSecond: number;
  /** How much of its memory it keeps writing to; undefined: a quarter of it. */
  workingSetBytes: number | undefined;
  /** What it has touched, and a move must send; undefined: half of its memory. */
  residentBytes: number | undefined;
  /** Whether it shuts down when asked to, and how long it takes. */
  obeysShutdown: boolean;
  shutdownMs: number;
  /** Share of one vCPU that it uses, 0 to 1. */
  load: number;
}

const DEFAULTS: GuestBehaviour = {
  dirtyRateBytesPerSecond: 4 * 1024 * 1024,
  workingSetBytes: undefined,
  residentBytes: undefined,
  obeysShutdown: true,
  shutdownMs: 2000,
  load: 0.05,
};

/**
 * Reads `<lockstep:simulated dirty-rate="64MiB" working-set="32MiB" resident="1GiB" shutdown="ignored"
 * shutdown-ms="500" load="0.5"/>`, which stands beside the placement in the domain's metadata. All are optional.
 * Fails with `invalid` where a value makes no sense.
 */
export function readBehaviour(xml: string): GuestBehaviour {
  const vm = lockstepElement(parseDocument(xml).root);
  const element = vm === undefined ? undefined : onlyOurs(vm, 'simulated');
  if (element === undefined) return DEFAULTS;
  const read = <T>(name: string, fallback: T, convert: (text: string) => T | undefined): T => {
    const text = element.getAttribute(name);
    if (text === null) return fallback;
    const value = convert(text);
    if (value === undefined) throw new HypervisorError('invalid', `lockstep:simulated/@${name}: got ${quoted(text)}`);
    return value;
  };
  return {
    dirtyRateBytesPerSecond: read('dirty-rate', DEFAULTS.dirtyRateBytesPerSecond, size),
    workingSetBytes: read('working-set', DEFAULTS.workingSetBytes, size),
    residentBytes: read('resident', DEFAULTS.residentBytes, size),
    obeysShutdown: read('shutdown', DEFAULTS.obeysShutdown, (text) =>
      text === 'obeyed' ? true : text === 'ignored' ? false : undefined,
    ),
    shutdownMs: read('shutdown-ms', DEFAULTS.shutdownMs, (text) => inRange(Number(text), 3_600_000)),
    load: read('load', DEFAULTS.load, (text) => inRange(Number(text), 1)),
  };
}

function size(text: string): number | undefined {
  const bytes = parseSize(text);
  return bytes === undefined ? undefined : Number(bytes);
}

function inRange(value: number, most: number): number | undefined {
  return value >= 0 && value <= most ? value : undefined;
}
