// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../clock/clock.js';
import {
  type CallLimit,
  type Domain,
  type DomainEvent,
  type DomainUsage,
  type Hypervisor,
  HypervisorError,
  type HypervisorInfo,
  type IncomingMigration,
  type MemoryUse,
  type OutgoingMigration,
} from './hypervisor.js';
import type { SimulatedConnection, SimulatedDaemon } from './simulated-daemon.js';
import type { SimulatedMachine } from './simulated-machine.js';
import type { SimulatedSource } from './simulated-source.js';
import type { SimulatedTarget } from './simulated-target.js';

/** What a simulated host is made of. */
export interface SimulatedHostParts {
  clock: Clock;
  info: HypervisorInfo;
  daemon: SimulatedDaemon;
  machine: SimulatedMachine;
  source: SimulatedSource;
  target: SimulatedTarget;
}

/** One agent's way to the hypervisor of its simulated host. */
export class SimulatedHypervisor implements Hypervisor {
  readonly #host: SimulatedHostParts;
  readonly #migrations = new Set<SimulatedConnection>();
  #control: SimulatedConnection | undefined;
  #closed = false;

  constructor(host: SimulatedHostParts) {
    this.#host = host;
  }

  info(call: CallLimit): Promise<HypervisorInfo> {
    return this.#call('info', call, () => this.#host.info);
  }

  list(call: CallLimit): Promise<Domain[]> {
    return this.#call('list', call, () => this.#host.machine.list());
  }

  find(uuid: string, call: CallLimit): Promise<Domain | undefined> {
    return this.#call('find', call, () => this.#host.machine.find(uuid));
  }

  usage(call: CallLimit): Promise<DomainUsage[]> {
    return this.#call('usage', call, () => this.#host.machine.usage());
  }

  xml(uuid: string, which: 'live' | 'inactive', call: CallLimit): Promise<string> {
    return this.#call('xml', call, () => this.#host.machine.xml(uuid, which));
  }

  define(xml: string, call: CallLimit): Promise<Domain> {
    return this.#call('define', call, () => this.#host.machine.define(xml));
  }

  stampEpoch(uuid: string, placementEpoch: bigint, call: CallLimit): Promise<void> {
    return this.#call('stampEpoch', call, () => {
      this.#host.machine.stampEpoch(uuid, placementEpoch);
    });
  }

  disableAutostart(uuid: string, call: CallLimit): Promise<void> {
    return this.#call('disableAutostart', call, () => {
      this.#host.machine.disableAutostart(uuid);
    });
  }

  start(uuid: string, call: CallLimit): Promise<void> {
    return this.#call('start', call, () => {
      this.#host.machine.start(uuid);
    });
  }

  shutdown(uuid: string, call: CallLimit): Promise<void> {
    return this.#call('shutdown', call, () => this.#host.machine.shutdown(uuid));
  }

  reboot(uuid: string, call: CallLimit): Promise<void> {
    return this.#call('reboot', call, () => this.#host.machine.reboot(uuid));
  }

  reset(uuid: string, call: CallLimit): Promise<void> {
    return this.#call('reset', call, () => this.#host.machine.reset(uuid));
  }

  destroy(uuid: string, call: CallLimit): Promise<void> {
    return this.#call('destroy', call, () => {
      this.#host.machine.destroy(uuid);
    });
  }

  resume(uuid: string, call: CallLimit): Promise<void> {
    return this.#call('resume', call, () => this.#host.machine.resume(uuid));
  }

  undefine(uuid: string, call: CallLimit): Promise<void> {
    return this.#call('undefine', call, () => {
      this.#host.machine.undefine(uuid);
    });
  }

  checkFit(xml: string, call: CallLimit): Promise<void> {
    return this.#call('checkFit', call, () => {
      this.#host.machine.checkFit(xml);
    });
  }

  memoryUse(uuid: string, call: CallLimit): Promise<MemoryUse> {
    return this.#call('memoryUse', call, () => this.#host.machine.memoryUse(uuid));
  }

  openOutgoing(uuid: string, call: CallLimit): Promise<OutgoingMigration> {
    const { source } = this.#host;
    return this.#open(call, (connection) => { source.connectionClosed(uuid, connection); }, (connection, close) => ({
      uuid,
      lost: connection.lost,
      close,
      begin: (limit) => connection.call('begin', limit, () => source.begin(uuid, connection)),
      perform: (input) => connection.call('perform', undefined, () => source.perform(uuid, input, connection)),
      // These go beside the connection that waits for `perform`.
      progress: (limit) => this.#call('progress', limit, () => source.progress(uuid)),
      setMaxDowntime: (downtimeMs, limit) =>
        this.#call('setMaxDowntime', limit, () => { source.setMaxDowntime(uuid, downtimeMs); }),
      setBandwidth: (bytesPerSecond, limit) =>
        this.#call('setBandwidth', limit, () => { source.setBandwidth(uuid, bytesPerSecond); }),
      startPostCopy: (limit) => this.#call('startPostCopy', limit, () => { source.startPostCopy(uuid); }),
      pause: (limit) => this.#call('pause', limit, () => { source.pause(uuid); }),
      abort: (limit) => this.#call('abort', limit, () => { source.abort(uuid); }),
      confirm: (_input, limit) => connection.call('confirm', limit, () => { source.confirm(uuid); }),
      cancel: (limit) => connection.call('cancel', limit, () => { source.cancel(uuid); }),
    }));
  }

  openIncoming(uuid: string, call: CallLimit): Promise<IncomingMigration> {
    const { target } = this.#host;
    return this.#open(call, (connection) => { target.connectionClosed(uuid, connection); }, (connection, close) => ({
      uuid,
      lost: connection.lost,
      close,
      prepare: (input, limit) => connection.call('prepare', limit, () => target.prepare(uuid, input, connection)),
      finish: ({ cookie }, limit) => connection.call('finish', limit, () => target.finish(uuid, cookie)),
      cancel: (limit) => connection.call('cancel', limit, () => { target.cancel(uuid); }),
    }));
  }

  events(signal: AbortSignal): AsyncIterable<DomainEvent> {
    return this.#host.machine.feed.subscribe(signal);
  }

  close(): Promise<void> {
    this.#closed = true;
    this.#control?.close();
    for (const connection of [...this.#migrations]) connection.close();
    this.#migrations.clear();
    return Promise.resolve();
  }

  async #call<T>(what: string, limit: CallLimit, work: () => T | Promise<T>): Promise<T> {
    if (this.#closed) throw new HypervisorError('down', 'this hypervisor was closed');
    if (this.#control === undefined || this.#control.lost.aborted) this.#control = this.#host.daemon.connect();
    return this.#control.call(what, limit, work);
  }

  async #open<T>(
    limit: CallLimit,
    onClose: (connection: SimulatedConnection) => void,
    build: (connection: SimulatedConnection, close: () => void) => T,
  ): Promise<T> {
    await this.#call('open', limit, () => undefined);
    const connection = this.#host.daemon.connect(onClose);
    this.#migrations.add(connection);
    return build(connection, () => {
      this.#migrations.delete(connection);
      connection.close();
    });
  }
}
