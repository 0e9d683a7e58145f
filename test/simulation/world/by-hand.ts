// SPDX-License-Identifier: Apache-2.0
import { CompletionMethod, FenceActionState, type Migration, MigrationState, NodeMode } from '@lockstep/sdk/v1';
import { sleep } from '@lockstep/services/platform/clock/clock.js';
import { Chance } from './chance.js';
import type { Cluster } from './cluster.js';
import type { AgentProcess } from './machine.js';
import { Operator } from './operator.js';

const LOOK_AGAIN_MS = 3_000;
/** How long somebody waits for a node to become empty, or for a migration that nobody can settle. */
const MOST_LOOKS = 30;
/** Until a host that was unplugged is missed, and until nothing that was asked about it is on its way any more. */
const SILENCE_MS = 30_000;
const SETTLED_MS = 20_000;
const WATCH_MS = 15_000;
const CALL = { deadlineMs: 5_000 };

type Deed = () => Promise<unknown>;

/**
 * People who step in where machines cannot know or were not asked: they fence hosts, say which are off and where a guest
 * is, let go what the brake holds, complete moves, cycle the power of empty hosts, and give the cluster guests to adopt
 * that they started by hand. What they say is true when they say it.
 */
export class ByHand {
  readonly #chance: Chance;
  readonly #desk: Operator;
  /** Guests that were started by hand, and where. */
  readonly #own = new Map<string, AgentProcess>();
  #made = 0;

  constructor(private readonly cluster: Cluster) {
    this.#chance = new Chance(`${String(cluster.plan.seed)}/by-hand-done`, cluster.clock);
    this.#desk = new Operator(cluster);
  }

  /** One of what they do. */
  async deed(): Promise<unknown> {
    const agent = this.#chance.pick(this.cluster.agents);
    if (agent === undefined) return undefined;
    const ofFencer: Deed[] = [
      () => this.#fence(agent),
      () => this.#acknowledge(),
      () => this.#cyclePower(agent),
      () => this.#lookAtFencing(),
    ];
    const deeds: Deed[] = [() => this.#resolve(), () => this.#complete(), () => this.#adopt(agent), () => this.#readConsole(), () => this.#look(agent)];
    return await this.#chance.pick(this.cluster.plan.fencers > 0 ? [...ofFencer, ...deeds] : deeds)?.();
  }

  /** What nobody has adopted goes again: whoever started it ends it. What was adopted by half is adopted once more. */
  async tidy(): Promise<void> {
    for (const [uuid, { host, name: node }] of [...this.#own]) {
      const hypervisor = host.hypervisor();
      const isOnRecord = this.cluster.records.vms.has(uuid);
      const left = await hypervisor.find(uuid, CALL);
      if (!isOnRecord && left !== undefined) {
        await hypervisor.destroy(uuid, CALL).catch(() => undefined);
        await hypervisor.undefine(uuid, CALL);
      }
      if (isOnRecord && left !== undefined && left.placementEpoch === undefined) {
        await this.#desk.scheduler(`adopt what is left on ${node}`, (api) => api.adoptVm({ vmId: uuid, node }));
      }
      this.#own.delete(uuid);
    }
  }

  async #fence(agent: AgentProcess): Promise<void> {
    const node = agent.name;
    const requestId = `fence-${String((this.#made += 1))}`;
    const request = { requestId, node, reason: 'it is to be replaced' };
    try {
      const { fenceAction } = await this.#desk.fencer(`fence ${node}`, (api) => api.createFenceAction(request));
      const id = fenceAction?.id ?? '';
      if (this.#chance.hit(0.3)) await this.#desk.fencer(`fence ${node}, once more`, (api) => api.createFenceAction(request));
      await sleep(this.cluster.clock, this.#chance.longTailed(20_000, 60_000));
      await this.#desk.fencer(`look at the fencing of ${node}`, (api) => api.getFenceAction({ id }));
    } finally {
      boot(agent);
    }
  }

  /** Whoever says that a host is off has seen to it that it stays so. */
  async #acknowledge(): Promise<void> {
    const { agents, clock } = this.cluster;
    const off = this.#chance.pick(agents.filter(({ powered, unplugged }) => !powered && !unplugged));
    const agent = off ?? (this.#chance.hit(0.4) ? this.#chance.pick(agents) : undefined);
    if (agent === undefined) return;
    const node = agent.name;
    this.cluster.trace.add('desk', `${node} is unplugged`);
    agent.unplugged = true;
    if (agent.powered) agent.losePower();
    try {
      await sleep(clock, SILENCE_MS);
      const word = { node, confirmNode: node, reason: 'its plug is out' };
      await this.#desk.fencer(`${node} is off`, (api) => api.acknowledgeDead(word));
    } finally {
      await sleep(clock, SETTLED_MS);
      agent.unplugged = false;
      boot(agent);
    }
  }

  /** A host is emptied, powered off and on, and takes VMs again. */
  async #cyclePower({ name: node }: AgentProcess): Promise<void> {
    if (this.cluster.records.nodes.get(node)?.mode !== NodeMode.ACTIVE) return;
    await this.#desk.scheduler(`maintenance of ${node} on`, (api) => api.setMaintenance({ node, enabled: true, reason: 'its power is tested' }));
    try {
      const isEmpty = (): boolean => this.cluster.agents.every(({ name, host }) => name !== node || host.guests().length === 0);
      for (let looks = 0; !isEmpty() && looks < MOST_LOOKS; looks++) await sleep(this.cluster.clock, LOOK_AGAIN_MS);
      await this.#desk.fencer(`cycle the power of ${node}`, (api) => api.testFencing({ node, powerCycle: true }));
    } finally {
      await this.#desk.scheduler(`${node} takes VMs again`, (api) => api.setMaintenance({ node, enabled: false }));
    }
  }

  async #lookAtFencing(): Promise<void> {
    const { fenceActions } = await this.#desk.fencer('look at fence actions', (api) => api.listFenceActions({}));
    const held = fenceActions.find(({ state }) => state === FenceActionState.HELD);
    if (held !== undefined) {
      const { id } = held;
      await this.#desk.fencer(`let fence action ${id.slice(-6)} go on`, (api) => api.releaseFenceAction({ id, reason: 'they are really gone' }));
    }
    await this.#desk.fencer('watch the fencing', (api) => this.#watched((signal) => api.watchFenceActions({}, { signal })));
  }

  /** Says of an UNCERTAIN migration where its guest runs, by a look at the hosts. */
  async #resolve(): Promise<void> {
    const { clock, guests, records } = this.cluster;
    const look = (): Migration | undefined => this.#chance.pick(records.open().filter(({ state }) => state === MigrationState.UNCERTAIN));
    let open = look();
    for (let looks = 0; open === undefined && looks < MOST_LOOKS; looks++) {
      await sleep(clock, LOOK_AGAIN_MS);
      open = look();
    }
    if (open === undefined) return;
    const { id, vmId } = open;
    const [node = ''] = guests.runningOn(vmId);
    const where = node === '' ? 'nowhere' : `on ${node}`;
    await this.#desk.scheduler(`the guest of migration ${id.slice(-6)} is ${where}`, (api) =>
      api.resolveMigration({ id, node, reason: 'its console says so' }),
    );
  }

  async #complete(): Promise<void> {
    const moving = this.cluster.records.open().filter(({ state }) => state === MigrationState.TRANSFERRING);
    const id = this.#chance.pick(moving)?.id;
    const method = this.#chance.hit(0.5) ? CompletionMethod.PAUSE : CompletionMethod.POST_COPY;
    if (id !== undefined) await this.#desk.scheduler(`complete migration ${id.slice(-6)}`, (api) => api.completeMigration({ id, method }));
  }

  /** A guest that nobody manages is given to the cluster; sometimes its host is restarted before. */
  async #adopt(agent: AgentProcess): Promise<void> {
    const { clock, trace } = this.cluster;
    const uuid = this.#chance.random.uuid();
    const name = `own${String((this.#made += 1))}`;
    const hypervisor = agent.host.hypervisor();
    // It may have been defined although nobody said so.
    this.#own.set(uuid, agent);
    try {
      await hypervisor.define(ownXml(uuid, name), CALL);
      if (this.#chance.hit(0.8)) await hypervisor.start(uuid, CALL);
    } catch {
      return;
    }
    trace.add('desk', `${name} is started by hand on ${agent.name}`);
    await sleep(clock, this.#chance.longTailed(8_000, 30_000));
    const adopt = (validateOnly: boolean): Promise<unknown> =>
      this.#desk.scheduler(`adopt ${name}`, (api) => api.adoptVm({ vmId: this.#chance.hit(0.5) ? uuid : name, node: agent.name, validateOnly }));
    if (this.#chance.hit(0.5)) await adopt(true);
    await adopt(false);
    if (this.#chance.hit(0.3)) await adopt(false);
  }

  async #look({ name: node }: AgentProcess): Promise<void> {
    const { vms, migrations } = this.cluster.records;
    const vm = this.#chance.pick([...vms.keys()]);
    if (vm !== undefined) await this.#desk.scheduler(`look at VM ${vm.slice(0, 8)}`, (api) => api.getVm({ vm }));
    const id = this.#chance.pick([...migrations.keys()]);
    if (id !== undefined) await this.#desk.scheduler(`look at migration ${id.slice(-6)}`, (api) => api.getMigration({ id }));
    await this.#desk.scheduler(`look at ${node}`, (api) => api.getNode({ name: node }));
  }

  /** Reads along what a guest writes to its console, where that has one. */
  async #readConsole(): Promise<void> {
    const { agents, guests, clock } = this.cluster;
    const uuid = this.#chance.pick([...this.#own.keys()].filter((id) => guests.runningOn(id).length > 0));
    if (uuid === undefined) return;
    const agent = agents.find(({ name }) => guests.runningOn(uuid).includes(name));
    if (agent === undefined) return;
    const writes = (text: string): void => {
      agent.consoles.write(consolePath(uuid), `${text}\n`);
    };
    writes('booted');
    clock.after(WATCH_MS / 3, () => {
      writes('still there');
    });
    const request = { vmId: uuid, tailLines: 2, follow: this.#chance.hit(0.7), resumeOffset: 0n };
    await this.#desk.agent(`read the console of ${uuid.slice(0, 8)}`, agent.address, (api) =>
      this.#watched((signal) => api.streamVmLog(request, { signal })),
    );
  }

  /** Reads for a while; being called away, and a leader that goes, are its end. */
  async #watched(open: (signal: AbortSignal) => AsyncIterable<unknown>): Promise<void> {
    const controller = new AbortController();
    this.cluster.clock.after(WATCH_MS, () => {
      controller.abort(new Error('seen enough'));
    });
    try {
      for await (const message of open(controller.signal)) if (message === undefined) return;
    } catch (error) {
      if (!controller.signal.aborted) throw error;
    }
  }
}

function boot(agent: AgentProcess): void {
  agent.gainPower();
  agent.start();
}

function ownXml(uuid: string, name: string): string {
  const console = `<serial type='file'><source path='${consolePath(uuid)}'/></serial>`;
  return (
    `<domain type='kvm'><uuid>${uuid}</uuid><name>${name}</name><memory unit='GiB'>1</memory><vcpu>1</vcpu>` +
    `<devices>${console}</devices></domain>`
  );
}

function consolePath(uuid: string): string {
  return `/var/log/consoles/${uuid}`;
}
