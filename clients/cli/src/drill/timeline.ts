// SPDX-License-Identifier: Apache-2.0
import { FenceActionState, NodeJudgement, VmState, type FenceAction, type Node, type NodeEvidence, type Vm } from '@lockstep/sdk/v1';
import { formatMs } from '../output/units.js';
import { wordOf } from '../output/words.js';

/** What is to become of a VM of the killed node: it runs elsewhere, is assigned elsewhere and stays off, or is left. */
export type Expectation = 'runs' | 'stays off' | 'left alone';

/** One VM of the node, as it was before. */
export interface DrillVm {
  vm: Vm;
  expected: Expectation;
  /** Where it would have gone before the host died; empty: it is to go nowhere. */
  forecast: string;
}

/** What is killed. */
export interface DrillPlan {
  node: string;
  /** The life of the node that ends. */
  incarnation: bigint;
  /** A command kills it, and detection is measured; undefined: the Fencer is asked to, and it is not. */
  command: string | undefined;
  vms: readonly DrillVm[];
  /** Whether the drill ends only once the node is back. */
  waitBack: boolean;
}

/** How one VM stands. Times count from the kill. */
export interface VmOutcome {
  name: string;
  id: string;
  expected: Expectation;
  forecast: string;
  state: string;
  node: string;
  /** When what was expected held; absent: it does not yet. */
  afterMs?: number;
  reason: string;
  detail: string;
}

/** What a drill measured. Times count from the kill, by the monotonic clock of whoever measures. */
export interface DrillReport {
  node: string;
  killedBy: string;
  /** How long the command took that killed it. */
  commandMs?: number;
  /** False: the Fencer was asked to power it off, so there was nothing to detect. */
  detectionMeasured: boolean;
  suspected?: { afterMs: number; rule: string };
  proven?: { afterMs: number; rung: string; proof: string };
  fenceAction: string;
  vms: VmOutcome[];
  back?: { afterMs: number };
  passed: boolean;
}

const FALLEN: readonly NodeJudgement[] = [NodeJudgement.SUSPECT, NodeJudgement.DEAD_UNPROVEN, NodeJudgement.DEAD_PROVEN];
const UNPROVEN_ENDS: readonly FenceActionState[] = [FenceActionState.CANCELLED, FenceActionState.FAILED];

/** Puts together what the API tells of a node's death, each with the time at which it was first seen. */
export class DrillTimeline {
  #begunAtMs: number | undefined;
  #commandMs: number | undefined;
  #suspected: DrillReport['suspected'];
  #proven: DrillReport['proven'];
  #back: DrillReport['back'];
  #action: FenceAction | undefined;
  #joinedAgain = false;
  readonly #seen = new Map<string, Vm>();
  readonly #doneMs = new Map<string, number>();

  constructor(
    readonly plan: DrillPlan,
    /** Monotonic, in milliseconds. */
    private readonly nowMs: () => number,
    /** Told every step, one line each. */
    private readonly tell: (line: string) => void,
  ) {
    for (const { vm } of plan.vms) this.#seen.set(vm.id, vm);
  }

  /** The kill begins now. */
  begin(): void {
    this.#begunAtMs = this.nowMs();
  }

  /** The command that kills has ended. */
  commandEnded(): void {
    this.#commandMs = this.#elapsedMs();
  }

  sawEvidence({ node, judgement, rule, throwsMissed }: NodeEvidence): void {
    if (node !== this.plan.node || !this.#hasBegun()) return;
    if (throwsMissed > 0 || FALLEN.includes(judgement)) this.#suspect(rule);
  }

  sawAction(action: FenceAction): void {
    const { node, incarnation } = this.plan;
    if (action.node !== node || action.incarnation !== incarnation || !this.#hasBegun()) return;
    if (action.state !== this.#action?.state || action.id !== this.#action.id) {
      this.#say(`fence action ${wordOf(FenceActionState, action.state)}: ${action.detail}`);
    }
    this.#action = action;
    if (action.automatic) this.#suspect(action.requestReason);
    if (action.state !== FenceActionState.CONFIRMED || this.#proven !== undefined) return;
    const rung = action.attempts.filter(({ proven }) => proven).at(-1)?.rung ?? '';
    this.#proven = { afterMs: this.#elapsedMs(), rung, proof: action.proof };
  }

  sawNode({ name, incarnation, ready, fencedBy }: Node): void {
    if (name !== this.plan.node || !this.#hasBegun() || incarnation <= this.plan.incarnation) return;
    this.#joinedAgain = true;
    for (const vm of this.#seen.values()) this.sawVm(vm);
    if (!ready || fencedBy !== '' || this.#back !== undefined) return;
    this.#back = { afterMs: this.#elapsedMs() };
    this.#say('is back and takes VMs');
  }

  sawVm(vm: Vm): void {
    if (!this.#seen.has(vm.id) || !this.#hasBegun()) return;
    this.#seen.set(vm.id, vm);
    const expected = this.plan.vms.find((one) => one.vm.id === vm.id)?.expected;
    if (this.#doneMs.has(vm.id) || expected === undefined || expected === 'left alone') return;
    const isAway = vm.placement?.node !== this.plan.node;
    const isRunning = vm.status?.state === VmState.RUNNING && (isAway || this.#joinedAgain);
    if (expected === 'runs' ? !isRunning : !isAway) return;
    this.#doneMs.set(vm.id, this.#elapsedMs());
    this.#say(`${vm.name} ${expected === 'runs' ? 'runs' : 'is assigned'} on ${vm.placement?.node ?? ''}`);
  }

  /** Nothing more is to be waited for. */
  isOver(): boolean {
    const hasFailed = this.plan.command === undefined && this.#action !== undefined && UNPROVEN_ENDS.includes(this.#action.state);
    return hasFailed || (this.#allDone() && (this.#back !== undefined || !this.plan.waitBack));
  }

  /** The fence action of this death; undefined: there is none yet. */
  get action(): FenceAction | undefined {
    return this.#action;
  }

  report(): DrillReport {
    const { node, command } = this.plan;
    return {
      node,
      killedBy: command ?? 'the Fencer, by its devices',
      ...(this.#commandMs === undefined ? {} : { commandMs: this.#commandMs }),
      detectionMeasured: command !== undefined,
      ...(this.#suspected === undefined ? {} : { suspected: this.#suspected }),
      ...(this.#proven === undefined ? {} : { proven: this.#proven }),
      fenceAction: this.#action?.id ?? '',
      vms: this.plan.vms.map((planned) => this.#outcomeOf(planned)),
      ...(this.#back === undefined ? {} : { back: this.#back }),
      passed: this.#proven !== undefined && this.#allDone() && (this.#back !== undefined || !this.plan.waitBack),
    };
  }

  #outcomeOf({ vm: { id, name }, expected, forecast }: DrillVm): VmOutcome {
    const seen = this.#seen.get(id);
    const afterMs = this.#doneMs.get(id);
    return {
      ...{ name, id, expected, forecast },
      state: wordOf(VmState, seen?.status?.state ?? VmState.UNSPECIFIED),
      node: seen?.placement?.node ?? '',
      ...(afterMs === undefined ? {} : { afterMs }),
      reason: seen?.status?.reason ?? '',
      detail: seen?.status?.detail ?? '',
    };
  }

  /** A node without VMs still has to be proven off. */
  #allDone(): boolean {
    const vms = this.plan.vms.filter(({ expected }) => expected !== 'left alone');
    return (this.#proven !== undefined || this.#joinedAgain) && vms.every(({ vm: { id } }) => this.#doneMs.has(id));
  }

  #suspect(rule: string): void {
    if (this.#suspected !== undefined || this.plan.command === undefined) return;
    this.#suspected = { afterMs: this.#elapsedMs(), rule };
    this.#say(`is suspected: ${rule}`);
  }

  #hasBegun(): boolean {
    return this.#begunAtMs !== undefined;
  }

  #elapsedMs(): number {
    return this.nowMs() - (this.#begunAtMs ?? this.nowMs());
  }

  #say(what: string): void {
    this.tell(`+${formatMs(this.#elapsedMs())}  ${this.plan.node}: ${what}`);
  }
}
