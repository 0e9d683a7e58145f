// SPDX-License-Identifier: Apache-2.0
import { EvidenceSource, NodeJudgement, type NodeEvidence } from '@lockstep/sdk/v1';
import { describe, expect, it } from 'vitest';
import { LockstepError } from '../core/errors/catalogue.js';
import { nodeCodec } from '../core/records/codec.js';
import { keys } from '../core/records/keys.js';
import { callContext, createWorld, type Said } from '../membership/test-world.js';
import { createFencer, type Fencer } from './fencer.js';

function cluster() {
  const world = createWorld('fencer');
  const { clock } = world;
  const replica = (name: string) => {
    const { env, cut } = world.envOf(name);
    const address = `${name}:7703`;
    const fencer = createFencer(env, { name });
    world.serveFencer(address, fencer.implementation);
    fencer.start(address);
    return { fencer, cut };
  };
  const agentIn = async (name: string, said: Said = { ready: true }) => {
    const agent = world.agent(name);
    await agent.join(said);
    await clock.advance(2_000);
    return agent;
  };
  const ask = async (fencer: Fencer, node: string): Promise<NodeEvidence> => {
    const { evidence } = await fencer.implementation.getEvidence({ node }, callContext());
    if (evidence === undefined) throw new Error(`no evidence about ${node}`);
    return evidence as NodeEvidence;
  };
  /** What the replica said in its log about a node, e.g. "1/6". */
  const counted = (node: string) =>
    world.log.lines
      .filter(({ state, message }) => state !== 'o' && message.startsWith(`${node}: `))
      .map(({ message }) => /: (\d\/\d) /.exec(message)?.[1])
      .filter((count) => count !== undefined);
  const close = async (...fencers: Fencer[]) => {
    const closing = Promise.all(fencers.map((fencer) => fencer.close()));
    await clock.advance(30_000);
    await closing;
  };
  return { ...world, replica, agentIn, ask, counted, close };
}

describe('the Fencer', () => {
  it('shows that a node lives, and by which evidence', async () => {
    const { replica, agentIn, ask, close } = cluster();
    const { fencer } = replica('f1');
    await agentIn('h1');
    const evidence = await ask(fencer, 'h1');
    expect(evidence).toMatchObject({ node: 'h1', judgement: NodeJudgement.ALIVE, throwsMissed: 0, throwsTotal: 6 });
    expect(evidence.rule).toBe("signs of life: alive: its session in the store and its agent's stream and the membership of the store");
    const signs = evidence.evidence.map(({ source, alive, observer }) => [source, alive, observer]);
    expect(signs).toEqual([
      [EvidenceSource.STORE_SESSION, true, 'f1'],
      [EvidenceSource.AGENT_STREAM, true, 'f1'],
      [EvidenceSource.SERF, true, 'f1'],
      [EvidenceSource.OWN_WORD, false, 'h1'],
    ]);
    await close(fencer);
  });

  it('counts six throws aloud before it takes a silent node for dead, and without a device it can do nothing about it', async () => {
    const { clock, server, replica, agentIn, ask, counted, log, close } = cluster();
    const { fencer } = replica('f1');
    const h1 = await agentIn('h1');
    await agentIn('h2');
    const before = await server.store('test').get(keys.node('h1'));
    await h1.turn('down');
    await h1.loseSession();
    const diedAtMs = clock.nowMs();
    while ((await ask(fencer, 'h1')).judgement !== NodeJudgement.DEAD_UNPROVEN && clock.nowMs() < 300_000) {
      await clock.advance(500);
    }
    expect(clock.nowMs() - diedAtMs).toBeGreaterThan(30_000);
    expect(clock.nowMs() - diedAtMs).toBeLessThan(45_000);
    await clock.advance(60_000);
    expect(counted('h1')).toEqual(['1/6', '2/6', '3/6', '4/6', '5/6', '6/6']);
    expect(log.lines.filter(({ state }) => state === 'e').map(({ message }) => message)).toEqual([
      expect.stringMatching(/^h1: 6\/6 throws missed: .*nothing proves yet that it is off$/),
      expect.stringMatching(/^h1: nothing proves it off: no device is configured for it; .*lockstep fence ack h1$/),
    ]);
    expect((await ask(fencer, 'h2')).judgement).toBe(NodeJudgement.ALIVE);
    expect(await server.store('test').get(keys.node('h1'))).toEqual(before);
    await close(fencer);
  });

  it('takes a sign of life at the last throw, and names it', async () => {
    const { clock, replica, agentIn, ask, log, close } = cluster();
    const { fencer } = replica('f1');
    const h1 = await agentIn('h1');
    await h1.turn('down');
    await h1.loseSession();
    while ((await ask(fencer, 'h1')).throwsMissed < 5) await clock.advance(500);
    await h1.turn('up');
    await clock.advance(5_000);
    expect(await ask(fencer, 'h1')).toMatchObject({ judgement: NodeJudgement.ALIVE, throwsMissed: 0 });
    expect(log.lines.map(({ message }) => message)).toContain(
      "h1: alive, back after 5 missed throws: its agent's stream",
    );
    await close(fencer);
  });

  it('leaves a node alone that only lost the store: its stream is a sign of life', async () => {
    const { clock, replica, agentIn, ask, counted, close } = cluster();
    const { fencer } = replica('f1');
    const h1 = await agentIn('h1');
    await h1.loseSession();
    await clock.advance(300_000);
    expect((await ask(fencer, 'h1')).judgement).toBe(NodeJudgement.ALIVE);
    expect(counted('h1')).toEqual([]);
    await close(fencer);
  });

  it('takes nobody for dead in an outage of the store, nor after it', async () => {
    const { clock, replica, agentIn, ask, counted, close } = cluster();
    const f1 = replica('f1');
    const f2 = replica('f2');
    const h1 = await agentIn('h1');
    const h2 = await agentIn('h2');
    await h2.turn('down');
    f1.cut(true);
    f2.cut(true);
    for (let second = 0; second < 300; second += 1) {
      await clock.advance(1_000);
      for (const { fencer } of [f1, f2]) {
        const answer = ask(fencer, 'h2').catch((error: unknown) => error);
        expect(await answer).not.toMatchObject({ judgement: NodeJudgement.DEAD_UNPROVEN });
      }
    }
    await h1.loseSession();
    await h2.loseSession();
    f1.cut(false);
    f2.cut(false);
    await h2.turn('up');
    await clock.advance(60_000);
    for (const node of ['h1', 'h2']) {
      expect((await ask(f1.fencer, node)).judgement).toBe(NodeJudgement.ALIVE);
      expect(counted(node).filter((count) => Number(count[0]) > 2)).toEqual([]);
    }
    await close(f1.fencer, f2.fencer);
  });

  it('never takes a node for dead that is starting for very long', async () => {
    const { clock, replica, agentIn, ask, counted, close } = cluster();
    const { fencer } = replica('f1');
    await agentIn('h1', { ready: false, notReadyReason: 'libvirtd is starting' });
    await clock.advance(1_200_000);
    const evidence = await ask(fencer, 'h1');
    expect(evidence.judgement).toBe(NodeJudgement.STARTING);
    const word = evidence.evidence.find(({ source }) => source === EvidenceSource.OWN_WORD);
    expect(word?.detail).toBe('it last said: starting, not ready: libvirtd is starting');
    expect(counted('h1')).toEqual([]);
    await close(fencer);
  });

  it('takes a node for proven dead by its record alone, until it joins again', async () => {
    const { clock, server, replica, agentIn, ask, close } = cluster();
    const { fencer } = replica('f1');
    const h1 = await agentIn('h1');
    const store = server.store('test');
    const entry = await store.get(keys.node('h1'));
    if (entry === undefined) throw new Error('no record');
    const fenced = { ...nodeCodec.decode(entry.value, entry.index), fencedBy: 'action-1' };
    await store.txn([{ op: 'set', key: keys.node('h1'), value: nodeCodec.encode(fenced) }]);
    await clock.advance(2_000);
    expect((await ask(fencer, 'h1')).judgement).toBe(NodeJudgement.DEAD_PROVEN);
    await h1.join({ ready: true });
    await clock.advance(2_000);
    expect((await ask(fencer, 'h1')).judgement).toBe(NodeJudgement.ALIVE);
    await close(fencer);
  });

  it('answers at every replica, by the one that leads; counting begins anew with the next leader', async () => {
    const { clock, replica, agentIn, ask, close } = cluster();
    const f1 = replica('f1');
    await clock.advance(1_000);
    const f2 = replica('f2');
    const h1 = await agentIn('h1');
    await clock.advance(5_000);
    await h1.turn('down');
    await h1.loseSession();
    while ((await ask(f2.fencer, 'h1')).throwsMissed < 5) await clock.advance(500);
    expect((await ask(f2.fencer, 'h1')).evidence[0]?.observer).toBe('f1');

    const closing = f1.fencer.close();
    await clock.advance(10_000);
    await closing;
    expect(f2.fencer.leader()).toMatchObject({ kind: 'self', epoch: 2n });
    const evidence = await ask(f2.fencer, 'h1');
    expect(evidence.evidence[0]?.observer).toBe('f2');
    expect(evidence.judgement).not.toBe(NodeJudgement.DEAD_UNPROVEN);
    await clock.advance(30_000);
    expect((await ask(f2.fencer, 'h1')).judgement).toBe(NodeJudgement.DEAD_UNPROVEN);
    await close(f2.fencer);
  });

  it('asks agents under its role and epoch, and goes above an epoch that they have heard', async () => {
    const { clock, replica, agentIn, close } = cluster();
    const { fencer } = replica('f1');
    const h1 = await agentIn('h1');
    expect(h1.watchers[0]?.header).toMatchObject({ leaderEpoch: 1n, incarnation: 1n });
    h1.refuse(new LockstepError('STALE_EPOCH', 'fencer epoch 1 is over', { role: 'fencer', leader_epoch: '8' }));
    await clock.advance(2_000);
    h1.refuse(undefined);
    await clock.advance(10_000);
    expect(fencer.leader()).toMatchObject({ kind: 'self', epoch: 9n });
    await close(fencer);
  });

  it('refuses what it cannot answer with a reason', async () => {
    const { clock, replica, ask, close } = cluster();
    const { fencer } = replica('f1');
    await expect(ask(fencer, 'h1')).rejects.toMatchObject({ reason: 'NO_LEADER' });
    await clock.advance(2_000);
    await expect(ask(fencer, 'h1')).rejects.toMatchObject({ reason: 'NODE_NOT_FOUND', metadata: { node: 'h1' } });
    await expect(ask(fencer, '')).rejects.toMatchObject({ reason: 'INVALID_FIELD' });
    expect(await fencer.implementation.listEvidence({}, callContext())).toEqual({ nodes: [] });
    await close(fencer);
    await expect(ask(fencer, 'h1')).rejects.toMatchObject({ reason: 'NO_LEADER' });
  });

  it('leaves nothing behind when it is closed', async () => {
    const { clock, server, replica, agentIn, close } = cluster();
    const f1 = replica('f1');
    const f2 = replica('f2');
    const h1 = await agentIn('h1');
    await close(f1.fencer, f2.fencer);
    await h1.loseSession();
    server.close();
    expect(clock.nextDueMs()).toBeUndefined();
  });
});
