// SPDX-License-Identifier: Apache-2.0
import { DeadlineExceeded, withDeadline, type Clock } from '../clock/clock.js';
import type { CallLimit } from '../hypervisor/hypervisor.js';
import { runTool, type ToolOutput } from '../process/tool.js';
import { BmcError, type BmcFailure } from './power.js';

export interface IpmitoolTarget {
  address: string;
  port: number;
  username: string;
  password: string;
  /** Of RMCP+, e.g. 3 or 17. */
  cipherSuite: number;
  /** The program; `ipmitool` of the PATH unless told. */
  program?: string | undefined;
}

/** What a BMC answered to a request it understood or refused. */
export interface IpmiAnswer {
  /** The completion code: 0 is success. */
  code: number;
  data: readonly number[];
}

/** Seconds until ipmitool asks again, and how often: an unreachable BMC is told from a slow one after some 6 s. */
const RETRY_SECONDS = 1;
const RETRIES = 2;
const INSUFFICIENT_PRIVILEGE = 0xd4;
/** A BMC that answered within this time is there: what gets no session now was lost on the way. */
const ANSWERED_LATELY_MS = 60_000;
/** How often it is asked again then, where the call's limit leaves the time that an attempt in vain takes. */
const SESSION_TRIES = 3;
const ATTEMPT_MS = 7_000;
/** Before a session there is no request: asking again can do nothing twice. */
const NO_SESSION_YET = /unable to establish|auth(?:entication)? capabilities error/i;

/** Why no session came to be, by what ipmitool says where it is verbose. Anything else is `failed`. */
const NO_SESSION: readonly [BmcFailure, RegExp, string][] = [
  ['wrong-credentials', /hmac is invalid|unauthorized name|integrity check value|password/i, 'does not accept user and password'],
  ['no-privilege', /unauthorized role|privilege level|role or privilege/i, 'does not grant the user the level OPERATOR'],
  ['unreachable', /address lookup|could not open socket|auth(?:entication)? capabilities|timeout/i, 'does not answer'],
];

/**
 * Asks a BMC by a process that never lives longer than the call's limit. The password goes by the child's environment,
 * which only root and its owner can read; the command line everybody can.
 */
export function createIpmitool(target: IpmitoolTarget, clock: Clock) {
  const { address, port, username, password, cipherSuite, program = 'ipmitool' } = target;
  const name = `the BMC at ${address}:${String(port)}`;
  // Only a session of level OPERATOR shows that the power may be switched, and nothing here needs more. Without -v
  // a wrong password, a silent BMC and a wrong cipher suite are one and the same message.
  const common = [
    ...['-v', '-I', 'lanplus', '-C', String(cipherSuite), '-E', '-L', 'OPERATOR'],
    ...['-N', String(RETRY_SECONDS), '-R', String(RETRIES)],
    ...['-H', address, '-p', String(port), '-U', username, 'raw'],
  ];

  const run = (bytes: readonly number[], signal: AbortSignal): Promise<ToolOutput> =>
    runTool({ program, args: [...common, ...bytes.map(hexOf)], env: { IPMI_PASSWORD: password } }, signal);

  let answeredAtMs = -Infinity;
  const request = async (bytes: readonly number[], untilMs: number, signal: AbortSignal | undefined): Promise<IpmiAnswer> => {
    for (let tries = 1; ; tries += 1) {
      const limit = { what: name, limitMs: untilMs - clock.nowMs(), signal };
      const output = await withDeadline(clock, limit, (inner) => run(bytes, inner));
      const isThere = clock.nowMs() - answeredAtMs <= ANSWERED_LATELY_MS;
      const again = isThere && tries < SESSION_TRIES && untilMs - clock.nowMs() >= ATTEMPT_MS;
      if (again && isLost(output)) continue;
      const answer = answerOf(name, output, password);
      answeredAtMs = clock.nowMs();
      return answer;
    }
  };

  return async (bytes: readonly number[], { deadlineMs, signal }: CallLimit): Promise<IpmiAnswer> => {
    try {
      return await request(bytes, clock.nowMs() + deadlineMs, signal);
    } catch (error) {
      if (error instanceof DeadlineExceeded) throw new BmcError('timeout', error.message);
      if (isSpawnError(error)) throw new BmcError('failed', `${program} cannot be run (${error.code})`);
      throw error;
    }
  };
}

/** No session came to be, and not because the BMC refused one: many lock a user out who is wrong a few times. */
function isLost({ exitCode, stderr }: ToolOutput): boolean {
  const refused = NO_SESSION.some(([kind, pattern]) => kind !== 'unreachable' && pattern.test(stderr));
  return exitCode !== 0 && !refused && NO_SESSION_YET.test(stderr);
}

const hexOf = (byte: number): string => `0x${byte.toString(16).padStart(2, '0')}`;

function isSpawnError(error: unknown): error is Error & { code: string } {
  return error instanceof Error && 'code' in error && typeof error.code === 'string';
}

/** Reads what ipmitool printed; throws where there was no session. `password` is only looked for. */
export function answerOf(name: string, { exitCode, stdout, stderr }: ToolOutput, password: string): IpmiAnswer {
  if (exitCode === 0) {
    const line = stdout.split('\n').findLast((text) => /^(?: [0-9a-f]{2})+\s*$/i.test(text));
    return { code: 0, data: (line ?? '').trim().split(/\s+/).filter(Boolean).map((byte) => Number.parseInt(byte, 16)) };
  }
  const rawCode = /unable to send raw command \(.*\brsp=(0x[0-9a-f]+)\)/i.exec(stderr)?.[1];
  if (rawCode !== undefined) {
    const code = Number(rawCode);
    if (code !== INSUFFICIENT_PRIVILEGE) return { code, data: [] };
    throw new BmcError('no-privilege', `${name} refuses the user: its privilege is too low`);
  }
  const lines = stderr.split('\n').map((line) => line.replace(/^[>\s]+/, '').trim());
  for (const [kind, pattern, what] of NO_SESSION) {
    const line = lines.find((text) => pattern.test(text));
    if (line !== undefined) throw new BmcError(kind, `${name} ${what}: ${without(password, line)}`);
  }
  const said = lines.filter((line) => line !== '' && !line.startsWith('Loading ')).join('; ');
  throw new BmcError('failed', `${name} cannot be asked: ${without(password, said) || 'ipmitool said nothing'}`);
}

/** Nothing of the kind is known of ipmitool; but what it prints is not ours. */
function without(password: string, text: string): string {
  return text.replaceAll(password, '[redacted]').slice(0, 300);
}
