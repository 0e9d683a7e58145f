// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, afterEach, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { PlayedCluster } from './cli-cluster.js';
import { startProgram, type Ended, type Running } from './cli-process.js';

let folder: string;
let cluster: PlayedCluster;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'lockstep-cli-'));
});

afterAll(() => {
  rmSync(folder, { recursive: true });
});

beforeEach(async () => {
  cluster = new PlayedCluster();
  await cluster.start();
});

afterEach(() => {
  cluster.stop();
});

function start(args: readonly string[], env: Record<string, string> = {}, stdin = ''): Running {
  return startProgram(args, { HOME: folder, LOCKSTEP_SERVER: cluster.address, ...env }, stdin);
}

async function lockstep(...args: string[]): Promise<Ended> {
  return await start(args).ended;
}

/** A loopback port that nobody listens on. */
async function freeAddress(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return `127.0.0.1:${typeof address === 'object' && address !== null ? String(address.port) : ''}`;
}

describe('output', () => {
  it('prints tables on stdout, following the pages, without colours on a pipe', async () => {
    const { code, stdout, stderr } = await lockstep('vm', 'list');
    expect(stderr).toBe('');
    expect(stdout).toMatch(/^NAME {2}STATE +DESIRED +NODE +MEMORY +VCPUS +AGE\nc1 +RUNNING.*\nc2 +STOPPED.*\n$/);
    expect(stdout).not.toContain('\u001b');
    expect(code).toBe(0);
  });

  it('prints valid JSON, lists as arrays, with 64-bit numbers kept whole', async () => {
    const { stdout } = await lockstep('vm', 'list', '-o', 'json');
    const vms = JSON.parse(stdout) as { name: string; spec: { memoryBytes: string } }[];
    expect(vms.map(({ name }) => name)).toEqual(['c1', 'c2']);
    expect(vms[0]?.spec.memoryBytes).toBe('9007199254740993');
  });

  it('prints YAML that says the same as the JSON', async () => {
    const json = await lockstep('vm', 'show', 'c1', '-o', 'json');
    const yaml = await lockstep('vm', 'show', 'c1', '-o', 'yaml');
    expect(parse(yaml.stdout)).toEqual(JSON.parse(json.stdout));
  });

  it('prints names that other commands take', async () => {
    expect((await lockstep('vm', 'list', '-o', 'name')).stdout).toBe('c1\nc2\n');
  });

  it('prints an empty array, and says so to people on stderr only', async () => {
    expect(await lockstep('migration', 'list', '-o', 'json')).toMatchObject({ stdout: '[]\n', stderr: '', code: 0 });
    expect(await lockstep('migration', 'list')).toMatchObject({ stdout: '', stderr: 'no migrations\n', code: 0 });
  });

  it('ends quietly when nobody reads on', async () => {
    const running = start(['vm', 'list']);
    running.child.stdout?.destroy();
    expect(await running.ended).toMatchObject({ code: 0, stderr: '' });
  });

  it.each(['cluster status', 'node list', 'node show h1', 'vm show c1', 'version'])(
    'serves people and programs: %s',
    async (line) => {
      const words = line.split(' ');
      const table = await lockstep(...words);
      expect(table).toMatchObject({ code: 0, stderr: '' });
      expect(table.stdout).not.toBe('');
      const json = await lockstep(...words, '-o', 'json');
      expect(JSON.parse(json.stdout)).toBeTruthy();
    },
  );
});

describe('finding the cluster', () => {
  it('says what to do where no cluster is named', async () => {
    const { code, stdout, stderr } = await start(['vm', 'list'], { LOCKSTEP_SERVER: '' }).ended;
    expect(stdout).toBe('');
    expect(stderr).toContain('--server');
    expect(stderr).toContain('reason: NO_CLUSTER');
    expect(stderr).toContain('next:');
    expect(code).toBe(2);
  });

  it('prefers --server to the environment', async () => {
    const running = start(['vm', 'list', '--server', cluster.address], { LOCKSTEP_SERVER: await freeAddress() });
    expect((await running.ended).code).toBe(0);
  });

  it('reads the context file, and another of its contexts by name', async () => {
    const config = join(folder, 'contexts');
    mkdirSync(join(config, 'lockstep'), { recursive: true });
    const file = join(config, 'lockstep', 'context.yaml');
    const dead = await freeAddress();
    writeFileSync(
      file,
      `current: a\ncontexts:\n  a: {servers: ["${cluster.address}"]}\n  b: {servers: ["${dead}"]}\n`,
    );
    const env = { LOCKSTEP_SERVER: '', XDG_CONFIG_HOME: config };
    expect((await start(['vm', 'list'], env).ended).code).toBe(0);
    expect((await start(['vm', 'list', '--context', 'b', '--deadline', '2s'], env).ended).code).toBe(5);
    const unknown = await start(['vm', 'list', '--context', 'c'], env).ended;
    expect(unknown.code).toBe(2);
    expect(unknown.stderr).toContain('a, b');
  });

  it('exits 5 where nobody listens, with the address, a reason and the next command', async () => {
    const address = await freeAddress();
    const { code, stdout, stderr } = await lockstep('vm', 'list', '--server', address, '--deadline', '3s');
    expect(stdout).toBe('');
    expect(stderr).toContain(address);
    expect(stderr).toContain('reason: ');
    expect(stderr).toContain('next: ');
    expect(code).toBe(5);
  });
});

describe('failures', () => {
  it.each([
    [['vm', 'show', 'nosuch'], 3, 'VM_NOT_FOUND', 'lockstep vm list'],
    [['vm', 'migrate', 'nosuch', 'succeeds', '--wait'], 3, 'VM_NOT_FOUND', 'lockstep vm list'],
    [['migration', 'watch', 'nosuch'], 3, 'MIGRATION_NOT_FOUND', 'lockstep migration list'],
    [['vm', 'migrate', 'c1', 'h1'], 4, 'SAME_NODE', 'lockstep vm show c1'],
    [['migration', 'cancel', 'm'], 4, 'PAST_POINT_OF_NO_RETURN', 'lockstep migration watch m'],
    [['vm', 'restart', 'c1'], 1, 'NOT_IMPLEMENTED', 'lockstep'],
    [['vm', 'lsit'], 2, 'USAGE', 'lockstep vm --help'],
    [['vm', 'undefine', 'c1'], 2, 'CONFIRMATION_NEEDED', 'lockstep vm undefine c1 --yes'],
  ] as const)('%j exits %i with %s', async (args, code, reason, next) => {
    const ended = await lockstep(...args);
    expect(ended).toMatchObject({ code, stdout: '' });
    expect(ended.stderr).toContain(`reason: ${reason}`);
    expect(ended.stderr).toContain(`next:   ${next}`);
  });
});

describe('vm define', () => {
  const XML = '<domain><name>new</name></domain>';

  it('defines from stdin and from a file, with a request ID of its own each', async () => {
    expect((await start(['vm', 'define', '-', '-o', 'name'], {}, XML).ended).stdout).toBe('new\n');
    const file = join(folder, 'vm.xml');
    writeFileSync(file, XML.replace('new', 'newer'));
    expect((await lockstep('vm', 'define', file, '-o', 'name')).stdout).toBe('newer\n');
    expect(new Set(cluster.requestIds).size).toBe(2);
    expect(cluster.requestIds.every((id) => /^[0-9a-f-]{36}$/.test(id))).toBe(true);
  });

  it('changes nothing with --dry-run', async () => {
    const ended = await start(['vm', 'define', '-', '--dry-run'], {}, XML).ended;
    expect(ended.code).toBe(0);
    expect(ended.stderr).toContain('nothing was changed');
    expect(cluster.vms.has('new')).toBe(false);
  });

  it('sends nothing that is too large', async () => {
    const large = `<domain><name>big</name>${' '.repeat(256 * 1024)}</domain>`;
    const file = join(folder, 'big.xml');
    writeFileSync(file, large);
    for (const ended of [await start(['vm', 'define', '-'], {}, large).ended, await lockstep('vm', 'define', file)]) {
      expect(ended).toMatchObject({ code: 2, stdout: '' });
      expect(ended.stderr).toContain('DOMAIN_XML_TOO_LARGE');
    }
    expect(cluster.requestIds).toEqual([]);
  });

  it('tells a name that is taken from a domain that is wrong', async () => {
    expect((await start(['vm', 'define', '-'], {}, XML.replace('new', 'c1')).ended).code).toBe(4);
    expect((await start(['vm', 'define', '-'], {}, '<domain/>').ended).code).toBe(2);
  });
});

describe('vm start, stop, undefine', () => {
  it('answers at once without --wait', async () => {
    expect((await lockstep('vm', 'start', 'c2', '--no-headers')).stdout).toMatch(/^c2 +STOPPED +RUNNING/);
  });

  it('waits with --wait until the state is there', async () => {
    const started = await lockstep('vm', 'start', 'c2', '--wait', '--no-headers');
    expect(started.code).toBe(0);
    expect(started.stdout).toMatch(/^c2 +RUNNING/);
    const stopped = await lockstep('vm', 'stop', 'c2', '--wait', '-o', 'json');
    expect(JSON.parse(stopped.stdout)).toMatchObject({ name: 'c2', status: { state: 'VM_STATE_STOPPED' } });
  });

  it('lets go after its limit and says how to look again', async () => {
    const ended = await lockstep('vm', 'start', 'c2', '--wait', '--timeout', '1ms');
    expect(ended).toMatchObject({ code: 5, stdout: '' });
    expect(ended.stderr).toContain('next:   lockstep vm show c2');
  });

  it('forgets a VM with --yes', async () => {
    expect(await lockstep('vm', 'undefine', 'c2', '--yes')).toMatchObject({ code: 0, stdout: '' });
    expect(cluster.vms.has('c2')).toBe(false);
  });
});

describe('vm migrate', () => {
  it('answers with the queued migration without --wait', async () => {
    const { code, stdout, stderr } = await lockstep('vm', 'migrate', 'c1', 'succeeds', '-o', 'name');
    expect(stdout).toMatch(/^0190f000-[0-9a-f-]+\n$/);
    expect(stderr).toContain(`lockstep migration watch ${stdout.trim()}`);
    expect(code).toBe(0);
  });

  it('waits for the result, tells each state once, and shows phases and outcome', async () => {
    const { code, stdout, stderr } = await lockstep('vm', 'migrate', 'c1', 'succeeds', '--wait');
    expect(stderr.match(/TRANSFERRING/g)).toHaveLength(1);
    expect(stderr).toMatch(/PENDING[^]*PREPARING[^]*TRANSFERRING[^]*COMMITTING[^]*SUCCEEDED/);
    expect(stderr).not.toMatch(/[\r\u001b]/);
    expect(stdout).toMatch(/Downtime +41 ms\nGap +2\.1 ms\nTotal +3 s\n/);
    expect(stdout).toMatch(/PREPARE +source +\+0 ms +20 ms +ok/);
    expect(stdout).toMatch(/PREPARE +target +\+20 ms +150 ms +ok/);
    expect(code).toBe(0);
  });

  it('exits 6 when it was undone, with the reason and its result as data', async () => {
    const { code, stdout, stderr } = await lockstep('vm', 'migrate', 'c1', 'aborts', '--wait', '-o', 'json');
    expect(JSON.parse(stdout)).toMatchObject({ state: 'MIGRATION_STATE_ABORTED', reason: 'NOT_CONVERGED' });
    expect(stderr).toContain('runs on at h1');
    expect(stderr).toContain('reason: NOT_CONVERGED');
    expect(stderr).toContain('next:   lockstep migration show ');
    expect(code).toBe(6);
  });

  it('exits 1 when it failed', async () => {
    const { code, stderr } = await lockstep('vm', 'migrate', 'c1', 'fails', '--wait');
    expect(stderr).toContain('reason: RESTARTED_COLD');
    expect(code).toBe(1);
  });

  it('survives a state it does not know', async () => {
    const { code, stderr } = await lockstep('vm', 'migrate', 'c1', 'novel', '--wait');
    expect(stderr).toContain('UNRECOGNIZED(99)');
    expect(code).toBe(0);
  });

  it('exits 5 where nobody leads', async () => {
    const ended = await lockstep('vm', 'migrate', 'c1', 'away', '--deadline', '2s');
    expect(ended.code).toBe(5);
    expect(ended.stderr).toContain('NO_LEADER');
  });

  it.each(['vm migrate', 'migration watch'])('%s lets go at Ctrl-C and says how to come back', async (words) => {
    const queued = await lockstep('vm', 'migrate', 'c1', 'hangs', '-o', 'name');
    const watch = ['migration', 'watch', queued.stdout.trim()];
    const args = words === 'vm migrate' ? ['vm', 'migrate', 'c1', 'hangs', '--wait'] : watch;
    const running = start(args);
    await running.says('TRANSFERRING');
    running.child.kill('SIGINT');
    const ended = await running.ended;
    expect(ended).toMatchObject({ code: 130, signal: null, stdout: '' });
    expect(ended.stderr).toContain('the migration goes on');
    expect(ended.stderr).toMatch(/next: {3}lockstep migration watch 0190f000-/);
  });

  it('lets go after its limit with 5', async () => {
    const ended = await lockstep('vm', 'migrate', 'c1', 'hangs', '--wait', '--timeout', '300ms');
    expect(ended.code).toBe(5);
    expect(ended.stderr).toContain('lockstep migration watch');
  });
});

describe('migration complete and resolve', () => {
  const queued = async (): Promise<string> => (await lockstep('vm', 'migrate', 'c1', 'hangs', '-o', 'name')).stdout.trim();

  it('say how, and where to look on', async () => {
    const id = await queued();
    for (const [word, method] of [['--pause', 'PAUSE'], ['--post-copy', 'POST_COPY']] as const) {
      const { code, stderr } = await lockstep('migration', 'complete', id, word);
      expect(code, stderr).toBe(0);
      expect(stderr).toContain(`lockstep migration watch ${id}`);
      expect(cluster.calls.at(-1)).toBe(`complete ${id} ${method}`);
    }
    for (const [words, told] of [[['--on', 'h2'], 'h2'], [['--nowhere'], 'nowhere']] as const) {
      const { code, stderr } = await lockstep('migration', 'resolve', id, ...words, '--reason', 'I looked');
      expect(code, stderr).toBe(0);
      expect(cluster.calls.at(-1)).toBe(`resolve ${id} ${told}: I looked`);
    }
  });

  it.each([
    [['complete', 'm']],
    [['complete', 'm', '--pause', '--post-copy']],
    [['resolve', 'm', '--reason', 'I looked']],
    [['resolve', 'm', '--on', 'h2', '--nowhere', '--reason', 'I looked']],
    [['resolve', 'm', '--on', 'h2']],
  ])('send nothing where it is not clear what is meant: %j', async (words) => {
    const { code, stderr } = await lockstep('migration', ...words);
    expect(code).toBe(2);
    expect(stderr).toContain('reason: USAGE');
    expect(cluster.calls).toEqual([]);
  });
});

describe('events', () => {
  it('are told oldest first, of one VM by its name, and not more than were asked for', async () => {
    const vm = `vms/${cluster.vms.get('c1')?.id ?? ''}`;
    for (const [reason, subject] of [['FIRST', vm], ['SECOND', 'nodes/h1'], ['THIRD', vm]] as const) cluster.happens(reason, subject);
    const told = async (...args: string[]): Promise<string[]> =>
      (JSON.parse((await lockstep('events', '-o', 'json', ...args)).stdout) as { reason: string }[]).map(({ reason }) => reason);
    expect(await told()).toEqual(['FIRST', 'SECOND', 'THIRD']);
    expect(await told('--limit', '2')).toEqual(['SECOND', 'THIRD']);
    expect(await told('--subject', 'vms/c1')).toEqual(['FIRST', 'THIRD']);
    expect(await told('--subject', 'vms/nosuch')).toEqual([]);
  });

  it('are followed without one twice, until Ctrl-C', async () => {
    cluster.happens('BEFORE', 'nodes/h1');
    const running = start(['events', '--follow']);
    await running.says('BEFORE');
    cluster.happens('AFTER', 'nodes/h1');
    await running.says('AFTER');
    running.child.kill('SIGINT');
    const { stdout } = await running.ended;
    expect(stdout.match(/BEFORE at/g)).toHaveLength(1);
    expect(stdout.match(/AFTER at/g)).toHaveLength(1);
  });
});

describe('completion', () => {
  it.each(['bash', 'zsh', 'fish'])('prints a script for %s', async (shell) => {
    expect((await lockstep('completion', shell)).stdout).toContain('lockstep __complete');
  });

  it('offers commands, options and the names of the cluster', async () => {
    expect((await lockstep('__complete', '--', 'vm', 'mi')).stdout).toBe('migrate\n');
    expect((await lockstep('__complete', '--', 'vm', 'show', 'c')).stdout).toBe('c1\nc2\n');
    expect((await lockstep('__complete', '--', 'vm', 'migrate', 'c1', '--force')).stdout).toBe('--force-live\n');
    expect((await lockstep('__complete', '--', 'vm', 'list', '--node', '')).stdout).toBe('h1\n');
  });

  it('is silent where no cluster answers', async () => {
    const args = ['__complete', '--', '--server', await freeAddress(), 'vm', 'show', ''];
    expect(await start(args).ended).toMatchObject({ code: 0, stdout: '', stderr: '' });
  });
});
