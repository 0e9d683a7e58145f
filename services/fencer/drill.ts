// SPDX-License-Identifier: Apache-2.0
import { EventSeverity, Fenceability, SelfFenceMode, type FenceAttempt, type TestFencingResponse } from '@lockstep/sdk/v1';
import { milliseconds, durationOf } from '../core/duration.js';
import { LockstepError } from '../core/errors/catalogue.js';
import { ATTEMPTS } from '../core/fencing/ladder.js';
import { proofByExpiryMs } from '../core/fencing/self-fence.js';
import { isAborted, pauseUnlessAborted } from '../membership/back-off.js';
import { isBmc, type PowerDevice, type PowerState } from '../platform/power/power.js';
import { ladderOf, type FencerLeading } from './leading.js';
import { markNode } from './node-marks.js';
import { wordsOf } from './sight/looks.js';
import { nameOf, readOwnPower } from './sight/power-reads.js';

/** How long an agent may be heard after its host's power went: messages on their way, and no more. */
const FALLS_SILENT_MS = 2_000;
const LISTEN_MS = 6_000;

export interface DrillOptions {
  /** Really power it off and on. */
  powerCycle: boolean;
  by: string;
}

/** Tries every rung of a node's ladder from here: what is asked of each, and whether it would work. */
export async function testFencing(leading: FencerLeading, node: string, { powerCycle, by }: DrillOptions): Promise<TestFencingResponse> {
  const drill = new Drill(leading, node);
  if (powerCycle) drill.refuseHarm();
  const attempts = await drill.harmless();
  let failed = attempts.filter(({ proven }) => !proven);
  const devices = leading.env.bmcs.devices(node);
  const worksSomehow = attempts.some(({ proven, rung }) => proven && rung !== ATTEMPTS.stopVms);
  if (powerCycle && failed.length === 0) {
    for (const device of devices) attempts.push(...(await drill.cycle(device)));
    failed = attempts.filter(({ proven }) => !proven);
    await drill.noteCycle(failed.at(0)?.detail ?? '');
  }
  const works = failed.length === 0 && worksSomehow;
  const why = failed.map(({ rung, detail }) => `${rung}: ${detail}`).join('; ');
  const detail = works ? 'every rung works' : worksSomehow ? why : `nothing could prove it off without a person; ${why}`;
  await leading.tell({
    severity: works ? EventSeverity.INFO : EventSeverity.ERROR,
    reason: works ? 'FENCE_TEST_PASSED' : 'FENCE_TEST_FAILED',
    message: `fence test of ${node}${powerCycle ? ' with a power cycle' : ''}: ${detail}`,
    subject: `nodes/${node}`,
    actor: by,
  });
  return { attempts, fenceability: works ? Fenceability.FENCEABLE : Fenceability.NOT_FENCEABLE, detail };
}

class Drill {
  constructor(
    private readonly leading: FencerLeading,
    private readonly node: string,
  ) {}

  /** A power cycle ends every guest on the host. */
  refuseHarm(): void {
    const { leading, node } = this;
    if (node === leading.name) {
      const message = `the Fencer's leader runs on ${node} itself; another one must lead to switch it off`;
      throw new LockstepError('NOT_FENCEABLE', message, { node });
    }
    const running = leading.streams.node(node)?.report?.node.figures?.vmsRunning ?? 0;
    if (running > 0) {
      throw new LockstepError('VM_RUNNING', `${String(running)} VMs run on ${node}; a power cycle would end them`, { node });
    }
  }

  /** Reads only, and changes nothing. */
  async harmless(): Promise<FenceAttempt[]> {
    const { leading, node } = this;
    const attempts: FenceAttempt[] = [];
    for (const rung of ladderOf(leading, node).rungs) {
      if (rung === 'stop-vms') attempts.push(await this.#try(ATTEMPTS.stopVms, '', () => this.#agentAnswers()));
      if (rung === 'watchdog' && this.#hasWatchdog()) attempts.push(await this.#try(ATTEMPTS.watchdog, '', () => this.#armed()));
      if (rung !== 'power') continue;
      for (const device of leading.env.bmcs.devices(node)) {
        attempts.push(await this.#try(ATTEMPTS.readPower, nameOf(device), () => this.#reads(device)));
      }
    }
    return attempts;
  }

  /** Off, read back, and silent; then on again, whatever came of that. */
  async cycle(device: PowerDevice): Promise<FenceAttempt[]> {
    const name = nameOf(device);
    const call = this.#call();
    const off = await this.#try(ATTEMPTS.powerOff, name, async () => {
      await device.powerOff(call);
      return await this.#until(device, 'off');
    });
    const silent = await this.#try(ATTEMPTS.readBack, name, () => this.#fellSilent());
    const on = await this.#try(ATTEMPTS.powerOn, name, async () => {
      await device.powerOn(call);
      return await this.#until(device, 'on');
    });
    return [off, silent, on];
  }

  /** Kept with the node: a device that says off of a host that runs on is not believed by any leader. */
  async noteCycle(failure: string): Promise<void> {
    const view = this.leading.streams.node(this.node);
    if (view === undefined || view.record.powerDistrust === failure) return;
    await markNode(this.leading, view.record, { powerDistrust: failure });
  }

  async #agentAnswers(): Promise<string> {
    const { env, streams, term } = this.leading;
    const address = streams.node(this.node)?.record.address ?? '';
    await env.peers.agent(address).probe({ address: '' }, { deadlineMs: 3_000, signal: term.ended });
    return 'its agent answers';
  }

  async #reads(device: PowerDevice): Promise<string> {
    const { streams } = this.leading;
    const view = streams.node(this.node);
    const state = await readOwnPower(device, view?.record.hostUuid ?? '', this.#call());
    if (isBmc(device)) {
      const privilege = await device.privilege(this.#call());
      if (privilege !== 'operator' && privilege !== 'administrator') {
        throw new Error(`its user has the privilege ${privilege}, and switching the power needs operator`);
      }
    }
    if (state === 'off' && this.leading.judging.livesBy(this.node).length > 0) {
      throw new Error('it says that the power is off, and the node is up');
    }
    return `it answers, may switch the power, and reads ${state}`;
  }

  #hasWatchdog(): boolean {
    return this.leading.streams.node(this.node)?.record.selfFence?.mode === SelfFenceMode.WATCHDOG;
  }

  #armed(): Promise<string> {
    const selfFence = this.leading.streams.node(this.node)?.record.selfFence;
    const afterMs = milliseconds(selfFence?.after, 0);
    const watchdogMs = milliseconds(selfFence?.watchdog, 0);
    const expiryMs = proofByExpiryMs({ afterMs, watchdogMs });
    return Promise.resolve(`armed: proof ${String(expiryMs / 1_000)} s after its session is gone`);
  }

  async #until(device: PowerDevice, wanted: PowerState): Promise<string> {
    const { env, settings, term } = this.leading;
    const { readBackMs, readEveryMs } = settings.timings;
    const untilMs = env.clock.nowMs() + readBackMs;
    for (;;) {
      const state = await device.powerState(this.#call());
      if (state === wanted) return `it reads ${wanted}`;
      if (env.clock.nowMs() >= untilMs || isAborted(term.ended)) throw new Error(`it still reads ${state}`);
      await pauseUnlessAborted(env.clock, readEveryMs, term.ended);
    }
  }

  async #fellSilent(): Promise<string> {
    const { env, judging, term } = this.leading;
    const offAtMs = env.clock.nowMs();
    await pauseUnlessAborted(env.clock, LISTEN_MS, term.ended);
    const spokeAtMs = judging.lastWordAtMs(this.node) ?? 0;
    if (spokeAtMs > offAtMs + FALLS_SILENT_MS) throw new Error('it reads off, and its agent speaks on: its host is not off');
    return 'its agent fell silent';
  }

  /** In a drill, `proven` says that it works. */
  async #try(rung: string, device: string, work: () => Promise<string>): Promise<FenceAttempt> {
    const { env, term } = this.leading;
    const startedAtMs = env.clock.nowMs();
    const begun = { rung, device, leaderEpoch: term.leaderEpoch, startTime: env.clock.wallTime() };
    const outcome = await work().then(
      (detail) => ({ proven: true, detail }),
      (error: unknown) => ({ proven: false, detail: wordsOf(error) }),
    );
    return { ...begun, ...outcome, duration: durationOf(env.clock.nowMs() - startedAtMs) };
  }

  #call(): { deadlineMs: number; signal: AbortSignal } {
    return { deadlineMs: this.leading.settings.timings.deviceCallMs, signal: this.leading.term.ended };
  }
}
