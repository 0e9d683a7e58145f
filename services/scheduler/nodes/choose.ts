// SPDX-License-Identifier: Apache-2.0
import { ExplainPlacementResponse, type Vm, type VmSpec } from '@lockstep/sdk/v1';
import { needsOf } from '../../core/domain-xml/devices.js';
import { LockstepError } from '../../core/errors/catalogue.js';
import { explain, place, refusalOf, type PlacementDecision } from '../../core/placement/place.js';
import { selectorOf } from '../../core/placement/snapshot.js';
import type { Leading } from '../term.js';
import { snapshotOf } from './snapshot.js';

/** What a VM needs, and the node it leaves if it moves. */
interface Wish {
  vmId?: string;
  source?: string;
  /** Nodes on which it has failed. */
  avoid?: readonly string[];
}

/** The best node for a VM. Fails with NO_TARGET and every node's reasons. */
export function chooseNode(leading: Leading, spec: VmSpec, wish: Wish): string {
  const decision = decide(leading, spec, wish);
  if (decision.node !== undefined) return decision.node;
  throw new LockstepError('NO_TARGET', `no node can take the VM: ${explain(decision)}`);
}

/** A node that a person named as target: it must be there and pass every filter. */
export function checkTarget(leading: Leading, spec: VmSpec, { target, ...wish }: Wish & { target: string }): string {
  checkNamedNode(leading, target, 'target_node');
  const candidate = decide(leading, spec, wish).candidates.find(({ node }) => node === target);
  const refusal = candidate === undefined ? undefined : refusalOf(candidate);
  if (refusal === undefined) return target;
  throw new LockstepError(refusal.reason, `${target} cannot take the VM: ${refusal.detail}`, {
    field: 'target_node',
    node: target,
  });
}

/** A node that a person named: it must be there. */
export function checkNamedNode(leading: Leading, name: string, field: string): string {
  if (leading.nodes.node(name) !== undefined) return name;
  const known = leading.nodes.nodes().map((node) => node.name);
  throw new LockstepError('NODE_NOT_FOUND', `${field}: there is no node ${name}`, {
    field,
    got: name,
    want: known.length === 0 ? 'a node, but none has joined' : `one of ${known.join(', ')}`,
    node: name,
  });
}

/** Where a VM would go if it had to leave its node, and why not elsewhere. */
export function explainPlacement(leading: Leading, vm: Vm): ExplainPlacementResponse {
  if (vm.spec === undefined) throw new LockstepError('INTERNAL', `${vm.name} has no spec`);
  const { node, candidates, selector } = decide(leading, vm.spec, { vmId: vm.id, source: vm.placement?.node ?? '' });
  return ExplainPlacementResponse.create({ node: node ?? '', candidates, selector });
}

/** Weighs all nodes for a VM. Reads only. */
export function decide(leading: Leading, spec: VmSpec, { vmId = '', source, avoid = [] }: Wish): PlacementDecision {
  const snapshot = snapshotOf(leading);
  const nodes = snapshot.nodes.map((node) =>
    avoid.includes(node.name) ? { ...node, ready: false, notReadyReason: 'the VM failed on this node' } : node,
  );
  return place({ ...snapshot, nodes }, {
    vmId,
    memoryBytes: spec.memoryBytes,
    hugepages: spec.hugepages,
    vcpus: spec.vcpus,
    nodeLimit: spec.nodeLimit,
    bridges: needsOf(spec.domainXml).bridges,
    selector: selectorOf(spec.selector, leading.options?.selector ?? 0),
    ...(source === undefined ? {} : { source }),
  });
}
