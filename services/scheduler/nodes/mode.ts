// SPDX-License-Identifier: Apache-2.0
import { DrainState, EventSeverity, NodeMode, type Node, type SetMaintenanceRequest } from '@lockstep/sdk/v1';
import { invalidField, LockstepError } from '../../core/errors/catalogue.js';
import { nodeCodec, type Stored } from '../../core/records/codec.js';
import { keys } from '../../core/records/keys.js';
import { subjects } from '../../membership/events.js';
import { readEntry, retryLost } from '../../membership/ledger.js';
import type { TxnOp } from '../../platform/store/store.js';
import { hasEnded } from '../drains/history.js';
import { writeDrain } from '../drains/drain-watch.js';
import type { Leading } from '../term.js';

/**
 * The step that gives a node another mode. Its agent and the Fencer write the same record, so it is read first, and the
 * transaction is lost where one of them was quicker. Fails with NODE_NOT_FOUND.
 */
export async function nodeModeStep(
  leading: Leading,
  name: string,
  next: (mode: NodeMode) => NodeMode,
): Promise<TxnOp> {
  const { record, index } = await readNode(leading, name);
  const value = nodeCodec.encode({ ...record, mode: next(record.mode) });
  return { op: 'cas', key: keys.node(name), value, index };
}

/** From the store: what is watched may be older than the mode that was written last. */
async function readNode({ env }: Leading, name: string): Promise<Stored<Node>> {
  const entry = await readEntry(env, keys.node(name));
  if (entry === undefined) throw new LockstepError('NODE_NOT_FOUND', `there is no node ${name}`, { node: name });
  return { record: nodeCodec.decode(entry.value, entry.index), index: entry.index };
}

/**
 * Into maintenance: the node takes no VMs, and those it has are moved away. Back: it takes VMs, what was moved away comes
 * home, and a drain of it that is still open is called off. Resolves once that is durable and known here.
 */
export async function setMaintenance(leading: Leading, { node, enabled, reason }: SetMaintenanceRequest): Promise<void> {
  if (node === '') throw invalidField('node', 'nothing', 'the name of a node');
  const mode = enabled ? NodeMode.MAINTENANCE : NodeMode.ACTIVE;
  await retryLost(leading.env, async () => {
    if ((await readNode(leading, node)).record.mode === mode) return;
    const why = reason === '' ? '' : `: ${reason}`;
    const told = leading.events.step({
      severity: EventSeverity.INFO,
      reason: enabled ? 'NODE_MAINTENANCE_ON' : 'NODE_MAINTENANCE_OFF',
      message: `${node} ${enabled ? 'is in maintenance' : 'takes VMs again'}${why}`,
      subject: subjects.node(node),
    });
    await leading.ledger.write([await nodeModeStep(leading, node, () => mode), told]);
  });
  if (!enabled) await endDrains(leading, node);
  await untilSeen(leading, node, mode);
}

async function endDrains(leading: Leading, node: string): Promise<void> {
  await retryLost(leading.env, async () => {
    const open = leading.drains.all().find(({ record }) => record.node === node && !hasEnded(record));
    if (open === undefined) return;
    await writeDrain(leading, open, {
      state: DrainState.CANCELLED,
      reason: 'CANCELLED',
      detail: `${node} was made ready again`,
      blockers: [],
    });
  });
}

const SEEN_LIMIT_MS = 5_000;

/** Until the watch of nodes has brought what was written, so that whoever asks next is answered with it. */
function untilSeen({ nodes, env }: Leading, name: string, mode: NodeMode): Promise<void> {
  const holds = (): boolean => nodes.node(name)?.record.mode === mode;
  return new Promise((resolve) => {
    const end = (): void => {
      timer.stop();
      unlisten();
      resolve();
    };
    const timer = env.clock.after(SEEN_LIMIT_MS, end);
    const unlisten = nodes.onChange(() => {
      if (holds()) end();
    });
    if (holds()) end();
  });
}
