// SPDX-License-Identifier: Apache-2.0
import { afterAll, beforeAll, expect, it } from 'vitest';
import { credentialsOf, hostNamed, setBmcMode, until } from '../../deploy/lab/api.js';
import { killPart, lab, lockstep, meshUp, ok, shown, startPartAgain } from './mesh.js';

/** A check of a BMC takes seconds; a new leader of the Fencer may be found first. */
const REPORT_LIMIT_MS = 90_000;

interface ShownEvidence {
  fenceability: string;
  fenceabilityDetail?: string;
  fenceabilityChecks?: { observer: string; fenceability: string; detail?: string }[];
}

interface ShownNode {
  name: string;
  fenceability?: string;
  conditions?: { type: string; detail: string }[];
}

const h2 = hostNamed(lab, 'h2');

beforeAll(meshUp);
afterAll(async () => {
  await setBmcMode(lab, h2, 'up');
});

/** The agent of h2 joins anew: then its BMC is checked by it and by its peers. */
async function restartAgent(): Promise<void> {
  await killPart('h2', 'node-agent');
  await startPartAgain('h2', 'node-agent');
}

async function evidenceUntil(what: string, isSo: (evidence: ShownEvidence) => boolean): Promise<ShownEvidence> {
  const found: ShownEvidence[] = [];
  await until(what, REPORT_LIMIT_MS, async () => {
    const { code, stdout, stderr } = await lockstep('fence', 'evidence', 'h2', '-o', 'json');
    if (code !== 0) return stderr.trim();
    const evidence = JSON.parse(stdout) as ShownEvidence;
    if (!isSo(evidence)) return stdout;
    found.push(evidence);
    return undefined;
  });
  const [evidence] = found;
  if (evidence === undefined) throw new Error('no evidence');
  return evidence;
}

it('a BMC whose password has changed is reported by the peers and by the node, and forgotten when it is right again', async () => {
  const { password } = credentialsOf(h2);
  await setBmcMode(lab, h2, 'up');
  await restartAgent();
  const good = await evidenceUntil('h2 is fenceable', ({ fenceability }) => fenceability === 'FENCEABILITY_FENCEABLE');
  const peers = good.fenceabilityChecks?.map(({ observer }) => observer).filter((observer) => observer !== 'h2');
  expect(peers).toEqual(['h3', 'h1']);

  await setBmcMode(lab, h2, 'wrong-password');
  await restartAgent();
  const bad = await evidenceUntil('a peer says that h2 cannot be fenced', ({ fenceabilityChecks = [] }) =>
    fenceabilityChecks.some(({ observer, fenceability }) => observer !== 'h2' && fenceability === 'FENCEABILITY_NOT_FENCEABLE'),
  );
  expect(bad.fenceability).toBe('FENCEABILITY_NOT_FENCEABLE');
  expect(bad.fenceabilityDetail).toContain('does not accept user and password');
  await until('the node itself says it too', REPORT_LIMIT_MS, async () => {
    const node = (await shown<ShownNode[]>('node', 'list')).find(({ name }) => name === 'h2');
    const condition = node?.conditions?.find(({ type }) => type === 'NODE_CONDITION_TYPE_BMC_NOT_FENCEABLE');
    return condition?.detail.includes('does not accept user and password') === true ? undefined : JSON.stringify(node);
  });
  const list = await ok('node', 'list', '-o', 'wide');
  expect(list).toMatch(/^h2 .*not[_ -]fenceable/im);
  for (const text of [list, JSON.stringify(bad), await ok('node', 'show', 'h2')]) expect(text).not.toContain(password);

  await setBmcMode(lab, h2, 'up');
  await restartAgent();
  await evidenceUntil('h2 is fenceable again', ({ fenceability }) => fenceability === 'FENCEABILITY_FENCEABLE');
});
