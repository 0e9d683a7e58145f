// SPDX-License-Identifier: Apache-2.0
import type { Vm } from '@lockstep/sdk/v1';
import type { NodeView } from '../../membership/node-streams.js';
import { proofOf } from '../recovery/proof.js';
import type { Leading } from '../term.js';

/**
 * Why a VM is not started on its node: it may run on another; undefined: it does not. That is looked for where a copy was
 * found, and, of a VM that was left to its owner until now, also while a node that may have it cannot be asked.
 */
export function elsewhere(leading: Leading, vm: Vm, wasLeftAlone: boolean): { reason: string; detail: string } | undefined {
  const found = runsByHandOn(leading, vm);
  if (found !== undefined) return { reason: 'VM_LOCKED', detail: `it runs on ${found}, where its owner moved it` };
  if (!wasLeftAlone || runsOn(leading, vm, vm.placement?.node ?? '')) return undefined;
  const silent = leading.nodes.nodes().find((view) => !tellsItsVms(view) && proofOf(leading, view.name) === undefined);
  if (silent === undefined) return undefined;
  const detail = `it was left to its owner, who may have moved it to ${silent.name}, which cannot be asked`;
  return { reason: 'NODE_UNREACHABLE', detail };
}

/** The other node on which the very copy runs that the record gives to its node. No order of ours leads there. */
export function runsByHandOn(leading: Leading, vm: Vm): string | undefined {
  const { placement } = vm;
  if (placement?.migrationId !== '') return undefined;
  return leading.nodes.nodes().find(({ name }) => name !== placement.node && runsOn(leading, vm, name))?.name;
}

/** An agent that has only just begun speaks before it has listed what runs there: it is ready once it has. */
function tellsItsVms({ connected, report }: NodeView): boolean {
  return connected && report?.node.ready === true;
}

function runsOn(leading: Leading, { id, placement }: Vm, node: string): boolean {
  const view = leading.nodes.node(node);
  const report = view?.connected === true ? view.report?.vms.get(id) : undefined;
  return report?.running === true && report.placementEpoch === placement?.epoch;
}
