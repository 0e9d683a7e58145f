// SPDX-License-Identifier: Apache-2.0
import { DisarmMode, MigrationMode, VmDesired } from '@lockstep/sdk/v1';
import { STORE } from '../world/store-link.js';
import type { Step } from './format.js';
import type { Stage } from './stage.js';

/** How long a host is off between the two halves of a reboot. */
const REBOOT_MS = 60_000;
const BOOT_MS = 2_000;

/** What each word of a timeline does to the cluster. Rejects where the cluster refuses. */
export async function act(stage: Stage, step: Step): Promise<void> {
  const { cluster, desk } = stage;
  const { node = '', vm = '', to = '' } = step;
  const id = stage.id(vm);
  switch (step.do) {
    case 'boot':
      // Who is still going down is switched on once it is off.
      await stage.goingDown.get(node);
      boot(stage, node);
      return;
    case 'crash':
      stage.agent(node).losePower();
      stage.lookAtQuorum();
      return;
    case 'isolate':
      isolate(stage, node);
      return;
    case 'heal':
      heal(stage, node);
      return;
    case 'shutdown':
      await shutDown(stage, node, 'shutdown');
      return;
    case 'reboot':
      await shutDown(stage, node, 'reboot');
      cluster.clock.after(REBOOT_MS, () => {
        boot(stage, node);
      });
      return;
    case 'restart_agent':
      await stage.agent(node).close();
      stage.agent(node).end('killed');
      stage.agent(node).start();
      return;
    case 'store_fault':
      if (step.fails === true) cluster.store.failing.set(node, step.operation === 'update' ? 'writes' : 'all');
      else cluster.store.failing.delete(node);
      return;
    case 'maintenance_on':
    case 'maintenance_off': {
      const enabled = step.do === 'maintenance_on';
      await desk.scheduler(`maintenance of ${node} ${enabled ? 'on' : 'off'}`, (api) => api.setMaintenance({ node, enabled, reason: 'the scenario' }));
      return;
    }
    case 'disarm': {
      const mode = step.mode === 'ignore' ? DisarmMode.IGNORE : DisarmMode.FREEZE;
      await desk.fencer(`disarm (${step.mode ?? ''})`, (api) => api.disarm({ mode, reason: 'the scenario' }));
      return;
    }
    case 'arm':
      await desk.fencer('arm', (api) => api.arm({}));
      return;
    case 'stop_scheduler':
      for (const replica of cluster.replicas) if (replica.role === 'scheduler') replica.end('killed');
      return;
    case 'migrate': {
      // One that shall not run has nothing to move live; one that shall is not shut down for it, nor started by it.
      const isStopped = cluster.records.vms.get(id)?.desired !== VmDesired.RUNNING;
      const mode = isStopped ? MigrationMode.SHUTDOWN : MigrationMode.LIVE_ONLY;
      await move(stage, step, mode);
      return;
    }
    case 'relocate':
      await move(stage, step, MigrationMode.SHUTDOWN);
      return;
    case 'stop_vm':
      await desk.scheduler(`stop ${vm}`, (api) => api.stopVm({ vm: id, force: step.timeout_s === 0 }));
      return;
    case 'set_desired':
      if (step.desired === 'RUNNING') await desk.scheduler(`start ${vm}`, (api) => api.startVm({ vm: id, node: '' }));
      else if (step.desired === 'STOPPED') await desk.scheduler(`stop ${vm}`, (api) => api.stopVm({ vm: id, force: false }));
      else if (step.desired === 'DISABLED' || step.desired === 'UNMANAGED') await stage.want(vm, VmDesired[step.desired]);
      return;
    case 'define':
      await stage.define(vm, { node, desired: step.desired ?? 'RUNNING' });
      return;
    case 'undefine':
      // There it takes the VM out of the manager's hands and leaves it alone; here undefining would end it.
      await stage.want(vm, VmDesired.UNMANAGED);
      return;
    case 'leave_lock':
      // A lock that an ended operation left on the VM's configuration: nothing here has such a lock.
      return;
    case 'moved_behind_back':
      await moveBehindBack(stage, id, to);
      return;
    default:
      throw new Error(`not supported yet: ${step.do}`);
  }
}

async function shutDown(stage: Stage, node: string, kind: 'shutdown' | 'reboot'): Promise<void> {
  const down = stage.agent(node).shutDown(kind);
  stage.goingDown.set(node, down);
  try {
    await down;
  } finally {
    stage.goingDown.delete(node);
    stage.lookAtQuorum();
  }
}

function boot(stage: Stage, node: string): void {
  const agent = stage.agent(node);
  agent.gainPower();
  heal(stage, node);
  stage.cluster.clock.after(BOOT_MS, () => {
    agent.start();
  });
}

function isolate(stage: Stage, node: string): void {
  const { cluster } = stage;
  cluster.trace.add('STAGE', `${node} is off the network`);
  for (const site of [...cluster.sites, STORE]) {
    cluster.network.cut(node, site);
    cluster.network.cut(site, node);
  }
  stage.lookAtQuorum();
}

function heal(stage: Stage, node: string): void {
  const { cluster } = stage;
  for (const site of [...cluster.sites, STORE]) {
    cluster.network.heal(node, site);
    cluster.network.heal(site, node);
  }
  stage.lookAtQuorum();
}

async function move({ desk }: Stage, { vm = '', to = '' }: Step, mode: MigrationMode): Promise<void> {
  await desk.scheduler(`move ${vm} to ${to}`, (api) => api.createMigration({ vm, targetNode: to, mode, setHome: true }));
}

/** Somebody moves it by hand, with the hypervisors' own tools. */
async function moveBehindBack(stage: Stage, id: string, to: string): Promise<void> {
  const limit = { deadlineMs: 10_000 };
  const from = stage.cluster.records.vms.get(id)?.placement?.node ?? '';
  const [there, here] = [stage.agent(from).host.hypervisor(), stage.agent(to).host.hypervisor()];
  const xml = await there.xml(id, 'inactive', limit);
  await there.destroy(id, limit);
  await there.undefine(id, limit);
  await here.define(xml, limit);
  await here.start(id, limit);
}
