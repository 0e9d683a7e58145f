// SPDX-License-Identifier: Apache-2.0
import { DrainState, EventSeverity, NodeConditionType, NodeMode, type Drain, type DrainBlocker } from '@lockstep/sdk/v1';
import { isTerminal } from '../../core/migration/transitions.js';
import { drainCodec, type Stored } from '../../core/records/codec.js';
import { keys } from '../../core/records/keys.js';
import { subjects } from '../../membership/events.js';
import type { NodeView } from '../../membership/node-streams.js';
import type { Leading } from '../term.js';
import { byLevel } from './by-level.js';
import { hasEnded } from './history.js';

/** Follows every open drain to its end and says in its record where it stands. The moves themselves are the evacuation's. */
export class DrainWatch {
  constructor(private readonly leading: Leading) {}

  start(): void {
    byLevel(this.leading, 'drains', () => this.look());
  }

  private async look(): Promise<void> {
    for (const stored of this.leading.drains.all()) {
      if (this.leading.term.ended.aborted) return;
      if (!hasEnded(stored.record)) await this.follow(stored);
    }
  }

  private async follow(stored: Stored<Drain>): Promise<void> {
    const { record } = stored;
    const view = this.leading.nodes.node(record.node);
    // The transaction that planned it cordoned the node: a record from before that says nothing of whether it was made ready.
    if (record.state === DrainState.PLANNED && view !== undefined && view.recordIndex < stored.index) return;
    const change = view === undefined ? undefined : this.standing(record, view);
    if (change !== undefined && differs(record, change)) await writeDrain(this.leading, stored, change);
  }

  private standing(drain: Drain, view: NodeView): Partial<Drain> {
    const { node } = drain;
    const moves = this.leading.migrations
      .all()
      .map(({ record }) => record)
      // IDs are ordered by time.
      .filter(({ id, sourceNode }) => sourceNode === node && id > drain.id);
    const migrationIds = [...new Set([...drain.migrationIds, ...moves.map(({ id }) => id)])];
    const placed = this.leading.vms.all().filter(({ record }) => record.placement?.node === node).map(({ record }) => record);
    const coming = this.leading.migrations.all().filter(({ record }) => record.targetNode === node && !isTerminal(record.state));
    const open = moves.filter(({ state }) => !isTerminal(state));
    if (view.record.fencedBy !== '') {
      if (placed.length > 0) return { migrationIds, state: DrainState.RUNNING, detail: `${node} is proven off; its VMs are recovered` };
      const detail = `${node} was proven off by ${view.record.fencedBy}; its VMs were recovered elsewhere`;
      return { migrationIds, state: DrainState.FAILED, reason: 'HOST_OFF', detail, blockers: [] };
    }
    if (view.record.mode === NodeMode.ACTIVE) {
      return { migrationIds, state: DrainState.CANCELLED, reason: 'CANCELLED', detail: `${node} takes VMs again`, blockers: [] };
    }
    const blockers = placed.flatMap(({ id }): DrainBlocker[] => {
      const why = this.leading.cannotLeave.get(id);
      return why === undefined ? [] : [{ vmId: id, ...why }];
    });
    if (placed.length > 0 || open.length > 0 || coming.length > 0) {
      const detail = `${String(placed.length)} VMs are left, ${String(open.length)} of them in the queue or on their way`;
      const stuck = open.length === 0 && coming.length === 0 && blockers.length === placed.length;
      return { migrationIds, blockers, detail, state: stuck ? DrainState.BLOCKED : DrainState.RUNNING };
    }
    const left = remainderOf(view);
    if (typeof left === 'string') return { migrationIds, blockers: [], detail: left, state: DrainState.RUNNING };
    if (left.length > 0) {
      return { migrationIds, blockers: left, detail: `the hypervisor of ${node} still has domains`, state: DrainState.BLOCKED };
    }
    const detail = `the hypervisor of ${node} confirms that no VM is left`;
    return { migrationIds, blockers: [], state: DrainState.DRAINED, reason: '', detail };
  }
}

/** What the node's hypervisor still has, as its agent says now; a sentence where it cannot tell. */
function remainderOf({ name, connected, report }: NodeView): DrainBlocker[] | string {
  if (!connected || report === undefined) return `waits for the agent of ${name} to confirm that no VM is left`;
  const down = report.node.conditions.find(({ type }) => type === NodeConditionType.LIBVIRT_DOWN);
  if (down !== undefined) return `waits for the hypervisor of ${name} to confirm that no VM is left: ${down.detail}`;
  return [...report.vms.values()].flatMap(({ vmId, name: vm, placementEpoch, running }): DrainBlocker[] => {
    if (placementEpoch > 0n) return [{ vmId, reason: 'VM_STILL_DEFINED', detail: `${vm} is still defined there` }];
    const detail = `${vm} runs there and is nobody's; it can be adopted or stopped by hand`;
    return running ? [{ vmId, reason: 'DOMAIN_NOT_OURS', detail }] : [];
  });
}

/** Writes a drain as it was read, with a change. Fails with LostTransaction where it was written meanwhile. */
export async function writeDrain(leading: Leading, { record, index }: Stored<Drain>, change: Partial<Drain>): Promise<Drain> {
  const next: Drain = { ...record, ...change };
  if (hasEnded(next)) next.endTime = leading.env.clock.wallTime();
  const ops = [{ op: 'cas', key: keys.drain(next.id), value: drainCodec.encode(next), index } as const];
  const events = next.state === record.state ? [] : [leading.events.step(happeningOf(next))];
  const written = await leading.ledger.write([...ops, ...events]);
  const result = { ...next, etag: written.toString() };
  leading.drains.put(next.id, { record: result, index: written });
  return result;
}

function happeningOf({ node, state, detail }: Drain): Parameters<Leading['events']['step']>[0] {
  const name = Object.entries(DrainState).find(([, value]) => value === state)?.[0] ?? 'UNKNOWN';
  const severity =
    state === DrainState.BLOCKED ? EventSeverity.WARNING : state === DrainState.FAILED ? EventSeverity.ERROR : EventSeverity.INFO;
  return { severity, reason: `DRAIN_${name}`, message: `drain of ${node}: ${detail}`, subject: subjects.node(node) };
}

function differs(drain: Drain, change: Partial<Drain>): boolean {
  const text = (value: Partial<Drain>): string => JSON.stringify([value.state, value.migrationIds, value.blockers, value.reason, value.detail]);
  return text(drain) !== text({ ...drain, ...change });
}
