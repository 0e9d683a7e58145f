// SPDX-License-Identifier: Apache-2.0
import {
  AbortRequest,
  ApplyVmRequest,
  CommitRequest,
  GiveUpRequest,
  MigrationRole,
  NodeAgentServiceStopVmRequest,
  PrepareRequest,
  RemoveVmRequest,
  SeizeRequest,
  TransferRequest,
  VmDesired,
  VmFacts,
  WatchNodeRequest,
  type PrepareResponse,
  type TransferResponse,
  type VmSpec,
  type WatchNodeResponse,
} from '@lockstep/sdk/v1';
import { call, spec, VM, type TestBed, type TestNode } from './test-bed.js';

export const MIGRATION = '01930000-0000-7000-8000-000000000001';
export const SOURCE_EPOCH = 1n;
export const TARGET_EPOCH = 2n;

/** Gives orders as a Scheduler that leads would, one step at a time. */
export class TestLeader {
  migrationId = MIGRATION;
  sourceEpoch = SOURCE_EPOCH;
  targetEpoch = TARGET_EPOCH;
  callLimitMs = 400_000;

  constructor(
    private readonly bed: TestBed,
    readonly epoch = bed.leaderEpoch,
  ) {}

  async apply(node: TestNode, epoch: bigint, desired: VmDesired = VmDesired.RUNNING, vmSpec: VmSpec = spec(), sequence = 0n) {
    const order = { vmId: VM, placementEpoch: epoch, migrationId: '' };
    const request = ApplyVmRequest.create({ header: await this.header(node), order, desired, spec: vmSpec, sequence });
    return this.within(Promise.resolve(node.service.applyVm(request, call())));
  }

  async stop(node: TestNode, epoch: bigint, options: { limitS?: number; migrationId?: string; sequence?: bigint } = {}) {
    const order = { vmId: VM, placementEpoch: epoch, migrationId: options.migrationId ?? '' };
    const shutdownLimit = { seconds: BigInt(options.limitS ?? 60), nanos: 0 };
    const request = NodeAgentServiceStopVmRequest.create({
      ...{ header: await this.header(node), order, shutdownLimit },
      sequence: options.sequence ?? 0n,
    });
    return this.within(Promise.resolve(node.service.stopVm(request, call())));
  }

  async remove(node: TestNode, epoch: bigint) {
    const order = { vmId: VM, placementEpoch: epoch, migrationId: '' };
    const request = RemoveVmRequest.create({ header: await this.header(node), order });
    return this.within(Promise.resolve(node.service.removeVm(request, call())));
  }

  async prepareSource(node: TestNode): Promise<PrepareResponse> {
    const request = PrepareRequest.create({
      header: await this.header(node),
      order: this.sourceOrder(),
      role: MigrationRole.SOURCE,
    });
    return this.within(Promise.resolve(node.service.prepare(request, call()))) as Promise<PrepareResponse>;
  }

  async prepareTarget(node: TestNode, begun: PrepareResponse): Promise<PrepareResponse> {
    const request = PrepareRequest.create({
      header: await this.header(node),
      order: this.targetOrder(),
      role: MigrationRole.TARGET,
      cookie: begun.cookie,
      domainXml: begun.domainXml,
      persistentXml: begun.persistentXml,
      paused: begun.paused,
      spec: spec(),
    });
    return this.within(Promise.resolve(node.service.prepare(request, call()))) as Promise<PrepareResponse>;
  }

  /** Attaches and collects every message until the end. */
  async transfer(node: TestNode, vote: PrepareResponse, options: { attachOnly?: boolean } = {}): Promise<TransferResponse[]> {
    return this.within(this.collect(node, vote, options));
  }

  /** The same, without letting time pass by itself. */
  async collect(node: TestNode, vote: PrepareResponse, options: { attachOnly?: boolean; signal?: AbortSignal } = {}) {
    const request = TransferRequest.create({
      header: await this.header(node),
      order: this.sourceOrder(),
      cookie: vote.cookie,
      migrationUri: vote.migrationUri,
      attachOnly: options.attachOnly ?? false,
      targetPlacementEpoch: this.targetEpoch,
    });
    const messages: TransferResponse[] = [];
    for await (const message of node.service.transfer(request, call(options.signal))) {
      messages.push(message as TransferResponse);
    }
    return messages;
  }

  /** Watches the node as a leader does, until the signal aborts; yields how many messages came. */
  async watch(node: TestNode, signal: AbortSignal): Promise<WatchNodeResponse[]> {
    const messages: WatchNodeResponse[] = [];
    const request = WatchNodeRequest.create({ header: await this.header(node) });
    for await (const message of node.service.watchNode(request, call(signal))) messages.push(message as WatchNodeResponse);
    return messages;
  }

  async commit(node: TestNode, role: MigrationRole, cookie: Uint8Array = Buffer.alloc(0)) {
    const order = role === MigrationRole.SOURCE ? this.sourceOrder() : this.targetOrder();
    const request = CommitRequest.create({ header: await this.header(node), order, role, cookie: Buffer.from(cookie) });
    return this.within(Promise.resolve(node.service.commit(request, call())));
  }

  async abort(node: TestNode, role: MigrationRole): Promise<VmFacts> {
    const order = role === MigrationRole.SOURCE ? this.sourceOrder() : this.targetOrder();
    const request = AbortRequest.create({ header: await this.header(node), order, role });
    const { facts } = await this.within(Promise.resolve(node.service.abort(request, call())));
    return VmFacts.create(facts);
  }

  async seize(node: TestNode, role: MigrationRole): Promise<VmFacts> {
    const order = role === MigrationRole.SOURCE ? this.sourceOrder() : this.targetOrder();
    const header = { ...(await this.header(node)), incarnation: 0n };
    const { facts } = await this.within(Promise.resolve(node.service.seize(SeizeRequest.create({ header, order }), call())));
    return VmFacts.create(facts);
  }

  async giveUp(node: TestNode, epoch: bigint, migrationId = ''): Promise<VmFacts> {
    const order = { vmId: VM, placementEpoch: epoch, migrationId };
    const request = GiveUpRequest.create({ header: await this.header(node), order });
    const { facts } = await this.within(Promise.resolve(node.service.giveUp(request, call())));
    return VmFacts.create(facts);
  }

  /** No answer within the limit is an error, as for a real leader. */
  private within<T>(promise: Promise<T>): Promise<T> {
    return this.bed.run(promise, this.callLimitMs);
  }

  header(node: TestNode) {
    return this.bed.header(node, this.epoch);
  }

  sourceOrder() {
    return { vmId: VM, placementEpoch: this.sourceEpoch, migrationId: this.migrationId };
  }

  targetOrder() {
    return { vmId: VM, placementEpoch: this.targetEpoch, migrationId: this.migrationId };
  }
}

/** The cookie of a transfer that ended well. */
export function endCookie(messages: readonly TransferResponse[]): Uint8Array {
  const last = messages.at(-1)?.event;
  if (last?.$case !== 'ended') throw new Error(`the transfer ended with ${JSON.stringify(last?.$case)}`);
  return last.value.cookie;
}
