// SPDX-License-Identifier: Apache-2.0
import { NodeConditionType, NodeJudgement, NodeMode } from '@lockstep/sdk/v1';
import type { NodeView } from '../../membership/node-streams.js';
import type { Leading } from '../term.js';

/** Heartbeats come every second; a node that was silent for this long takes no VMs. */
const READY_SILENCE_MS = 5_000;

/** Why a node cannot take VMs; undefined: it can. */
export function obstacleOf(leading: Leading, { record, report, ...view }: NodeView): string | undefined {
  if (record.fencedBy !== '') return `fenced by ${record.fencedBy}`;
  if (record.mode === NodeMode.MAINTENANCE) return 'in maintenance';
  if (record.mode === NodeMode.CORDONED) return 'cordoned by a drain';
  if (record.leaving !== undefined || report?.node.judgement === NodeJudgement.LEAVING) return 'its host is shutting down';
  if (!view.connected || view.lastMessageAtMs === undefined) return `its agent does not answer: ${view.trouble}`;
  const silentMs = leading.env.clock.nowMs() - view.lastMessageAtMs;
  if (silentMs > READY_SILENCE_MS) return `its agent has been silent for ${String(Math.round(silentMs / 1000))} s`;
  const down = report?.node.conditions.find(({ type }) => type === NodeConditionType.LIBVIRT_DOWN);
  if (down !== undefined) return down.detail;
  if (report?.node.figures?.memory === undefined) return 'its figures have not arrived yet';
  return report.node.notReadyReason === '' ? undefined : report.node.notReadyReason;
}
