// SPDX-License-Identifier: Apache-2.0
import { runTool, type ToolOutput } from '../process/tool.js';
import { DeadlineExceeded, withDeadline, type Clock } from '../clock/clock.js';
import type { CallLimit } from '../hypervisor/hypervisor.js';
import { BmcError, type PowerDevice, type PowerState } from './power.js';

/** A device of ClusterLabs' fence-agents: a power switch, a chassis, a hypervisor that the host itself runs on. */
export interface FenceAgentTarget {
  /** The program, e.g. `fence_apc`. */
  agent: string;
  /** What it is told besides the action, by its standard input: nothing of it is seen in a process list. */
  options: Readonly<Record<string, string>>;
}

/** What `status` ends with. */
const STATUS_ON = 0;
const STATUS_OFF = 2;

/** Any option whose name says so is a secret, and is looked for in what the agent prints. */
const SECRET = /passw|secret|token|key/i;

/**
 * A device by its fence agent, over the agents' standard-input protocol: one `name=value` a line, the exit code is the
 * answer. What it prints is only shown.
 */
export function createFenceAgent({ agent, options }: FenceAgentTarget, clock: Clock): PowerDevice {
  const address = options['ip'] ?? options['ipaddr'] ?? options['plug'] ?? agent;
  const name = `${agent} at ${address}`;
  const secrets = Object.entries(options).flatMap(([key, value]) => (SECRET.test(key) && value !== '' ? [value] : []));

  const run = async (action: string, { deadlineMs, signal }: CallLimit): Promise<ToolOutput> => {
    const input = Object.entries({ ...options, action }).map(([key, value]) => `${key}=${value}\n`).join('');
    try {
      return await withDeadline(clock, { what: name, limitMs: deadlineMs, signal }, (inner) =>
        runTool({ program: agent, args: [], env: {}, input }, inner),
      );
    } catch (error) {
      if (error instanceof DeadlineExceeded) throw new BmcError('timeout', error.message);
      if (error instanceof Error && 'code' in error && typeof error.code === 'string') {
        throw new BmcError('failed', `${agent} cannot be run (${error.code})`);
      }
      throw error;
    }
  };
  const failure = ({ exitCode, stderr }: ToolOutput): BmcError => {
    const said = secrets.reduce((text, secret) => text.replaceAll(secret, '[redacted]'), stderr).trim();
    const last = said.split('\n').at(-1)?.slice(0, 300) ?? '';
    return new BmcError('failed', `${name} ended with ${String(exitCode)}${last === '' ? '' : `: ${last}`}`);
  };
  const order = async (action: string, call: CallLimit): Promise<void> => {
    const output = await run(action, call);
    if (output.exitCode !== 0) throw failure(output);
  };

  return {
    kind: agent,
    address,
    powerState: async (call): Promise<PowerState> => {
      const output = await run('status', call);
      if (output.exitCode === STATUS_ON) return 'on';
      if (output.exitCode === STATUS_OFF) return 'off';
      throw failure(output);
    },
    powerOff: (call) => order('off', call),
    powerOn: (call) => order('on', call),
  };
}
