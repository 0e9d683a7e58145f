// SPDX-License-Identifier: Apache-2.0
import { EventSeverity, type Vm } from '@lockstep/sdk/v1';
import { subjects } from '../../membership/events.js';
import type { Logger } from '../../platform/log/log.js';
import type { Leading } from '../term.js';

/** Notes that no node can take a VM now, and why, node by node. That it began to wait is an event; other figures are none. */
export function waitForTarget({ noTarget, events }: Leading, { id, name }: Vm, why: string, log: Logger): void {
  const before = noTarget.get(id);
  if (before === why) return;
  noTarget.set(id, why);
  const message = `no node can take ${name}: ${why}`;
  log.warn(message, { vm: id });
  if (before !== undefined) return;
  void events.emit({ severity: EventSeverity.ERROR, reason: 'NO_TARGET', message, subject: subjects.vm(id) });
}
