// SPDX-License-Identifier: Apache-2.0
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect } from '@lockstep/sdk';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { credentialsOf, hostNamed, inside, ports, setBmcMode, until, type HostLayout } from '../../deploy/lab/api.js';
import { killPart, lab, lockstep, meshUp, ok, servers, shown, startPartAgain } from './mesh.js';
import { startService, type ServiceProcess } from './service-process.js';

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
const peers = [hostNamed(lab, 'h1'), hostNamed(lab, 'h3')];
const mesh = connect({ servers });

beforeAll(meshUp);
afterAll(async () => {
  mesh.close();
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
  const observers = good.fenceabilityChecks?.map(({ observer }) => observer).filter((observer) => observer !== 'h2');
  expect(observers).toEqual(['h3', 'h1']);

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

const bmcFileOf = (host: HostLayout): string => join(host.dir, 'lockstep/bmc.yaml');

/** The file of a host's BMCs, in which those of h2 and of h3 are taken for each other. */
function withStranger(host: HostLayout): string {
  const bmcs = parse(readFileSync(bmcFileOf(host), 'utf8')) as { nodes: Record<string, object> };
  return stringify({ ...bmcs, nodes: { ...bmcs.nodes, h2: bmcs.nodes['h3'], h3: bmcs.nodes['h2'] } });
}

it.each([
  {
    what: 'that is off',
    words: 'does not answer',
    fileOf: (host: HostLayout) => readFileSync(bmcFileOf(host), 'utf8'),
    begin: () => setBmcMode(lab, h2, 'dead'),
    end: () => setBmcMode(lab, h2, 'up'),
  },
  {
    what: 'of another machine',
    words: 'is that of h3',
    fileOf: withStranger,
    begin: () => Promise.resolve(),
    end: () => Promise.resolve(),
  },
])('a BMC $what is named by its node at the start, and by the peers', async ({ words, fileOf, begin, end }) => {
  const config = parse(readFileSync(join(h2.dir, 'lockstep/node-agent.yaml'), 'utf8')) as object;
  const [own, files] = [fileOf(h2), peers.map((host) => ({ host, right: readFileSync(bmcFileOf(host), 'utf8'), text: fileOf(host) }))];
  let agent: ServiceProcess | undefined;
  try {
    for (const { host, text } of files) writeFileSync(bmcFileOf(host), text);
    await begin();
    for (const { host } of files) {
      const asked = mesh.nodeAgent(`${host.addresses.a}:${ports['node-agent']}`);
      await until(`${host.name} finds it`, REPORT_LIMIT_MS, async () => {
        const { detail } = await asked.checkBmc({ node: 'h2' }, { deadlineMs: REPORT_LIMIT_MS });
        return detail.includes(words) ? undefined : detail;
      });
    }
    // It joins anew: then the Fencer asks its peers.
    await killPart('h2', 'node-agent');
    const started = await startService('node-agent', {
      before: inside(h2),
      config: (folder) => {
        writeFileSync(join(folder, 'bmc.yaml'), own, { mode: 0o600 });
        return { ...config, bmc_file: join(folder, 'bmc.yaml') };
      },
    });
    agent = started;
    await until('the node warns that fencing would fail', REPORT_LIMIT_MS, () => {
      const warned = started.log().split('\n').some((line) => line.includes('fencing this node would fail') && line.includes(words));
      return Promise.resolve(warned ? undefined : started.log().slice(-500));
    });
    await evidenceUntil('the Fencer has it from the peers', ({ fenceability, fenceabilityChecks = [] }) => {
      const told = fenceabilityChecks.filter(({ observer, detail = '' }) => observer !== 'h2' && detail.includes(words));
      return fenceability === 'FENCEABILITY_NOT_FENCEABLE' && told.length > 0;
    });
    expect(await ok('node', 'list', '-o', 'wide')).toMatch(/^h2 .*not[_ -]fenceable/im);
  } finally {
    await agent?.end();
    for (const { host, right } of files) writeFileSync(bmcFileOf(host), right);
    await end();
    await startPartAgain('h2', 'node-agent');
  }
});
