// SPDX-License-Identifier: Apache-2.0
// libvirt's migration protocol, version 3, phase by phase: begin (source), prepare (target), perform (source),
// finish (target), confirm (source). Whoever calls them carries parameters and cookies from one host to the other;
// the two libvirt daemons never talk to each other.
import type { CallOptions } from './calls.js';
import { procedures } from './procedures.js';
import type { Caller } from './rpc-client.js';
import type { TypedParam } from './typed-params.js';
import type { DomainRef } from './wire-types.js';

/** Parameters of the phases; all phases of one migration get the same ones, plus what the phase before answered. */
export interface MigrationParams {
  /** Where the source's QEMU sends memory to, e.g. `tcp://10.0.0.2:49152`. */
  readonly migrateUri?: string;
  readonly destinationName?: string;
  /** The running definition at the target: what begin answered, or a changed copy. */
  readonly destinationXml?: string;
  /** The persistent definition at the target. */
  readonly persistentXml?: string;
  readonly bandwidthMiBps?: bigint;
  readonly bandwidthPostcopyMiBps?: bigint;
  readonly graphicsUri?: string;
  readonly listenAddress?: string;
  /** Targets of the disks to copy, e.g. `vda`. */
  readonly migrateDisks?: readonly string[];
  readonly disksPort?: number;
  readonly disksUri?: string;
  /** Methods of compression, e.g. `xbzrle`. */
  readonly compression?: readonly string[];
  readonly autoConvergeInitialPercent?: number;
  readonly autoConvergeIncrementPercent?: number;
  readonly parallelConnections?: number;
  readonly tlsDestination?: string;
  /** Parameters this package does not know. */
  readonly extra?: readonly TypedParam[];
}

type Scalar = Exclude<keyof MigrationParams, 'migrateDisks' | 'compression' | 'extra'>;

const SCALARS = {
  migrateUri: ['migrate_uri', 'string'],
  destinationName: ['destination_name', 'string'],
  destinationXml: ['destination_xml', 'string'],
  persistentXml: ['persistent_xml', 'string'],
  bandwidthMiBps: ['bandwidth', 'ullong'],
  bandwidthPostcopyMiBps: ['bandwidth.postcopy', 'ullong'],
  graphicsUri: ['graphics_uri', 'string'],
  listenAddress: ['listen_address', 'string'],
  disksPort: ['disks_port', 'int'],
  disksUri: ['disks_uri', 'string'],
  autoConvergeInitialPercent: ['auto_converge.initial', 'int'],
  autoConvergeIncrementPercent: ['auto_converge.increment', 'int'],
  parallelConnections: ['parallel.connections', 'int'],
  tlsDestination: ['tls.destination', 'string'],
} as const satisfies Record<Scalar, readonly [string, TypedParam['type']]>;

/** The wire form of migration parameters. */
export function encodeMigrationParams(params: MigrationParams): TypedParam[] {
  const encoded: TypedParam[] = [];
  for (const [key, [name, type]] of Object.entries(SCALARS)) {
    const value = params[key as Scalar];
    if (value !== undefined) encoded.push({ name, type, value } as TypedParam);
  }
  for (const value of params.migrateDisks ?? []) encoded.push({ name: 'migrate_disks', type: 'string', value });
  for (const value of params.compression ?? []) encoded.push({ name: 'compression', type: 'string', value });
  return [...encoded, ...(params.extra ?? [])];
}

/** What every phase takes. Flags are those of `MigrateFlag`, combined. */
export interface MigrationPhase {
  readonly params: MigrationParams;
  readonly flags: number;
}

/** What a phase takes that follows another: the cookie that one answered, byte for byte; empty if it was lost. */
export interface MigrationStep extends MigrationPhase {
  readonly cookie: Uint8Array;
}

/** How a phase is told that the migration was given up; `cancelled` makes it undo instead of complete. */
export interface MigrationEnd extends MigrationStep {
  readonly cancelled: boolean;
}

export interface Begun {
  readonly cookie: Uint8Array;
  /** The definition to hand to prepare as `destinationXml`. */
  readonly xml: string;
}

export interface Prepared {
  readonly cookie: Uint8Array;
  /** Where the target listens; null means that the caller's own `migrateUri` holds. */
  readonly uri: string | null;
}

/** Perform lasts as long as memory is sent, so its caller must say how long it waits. */
export interface PerformOptions extends CallOptions {
  readonly deadlineMs: number | 'none';
}

/**
 * The five phases. Use one connection of its own per migration and side, and keep it open until the end: libvirt
 * ties a prepared guest and a begun job to the connection that asked for them. Giving a call up by its deadline or
 * signal neither closes that connection nor stops the phase; `jobs.abort` on another connection stops perform.
 */
export class Migration {
  readonly #rpc: Caller;

  constructor(rpc: Caller) {
    this.#rpc = rpc;
  }

  /** Source: starts the migration job. */
  async begin(domain: DomainRef, phase: MigrationPhase, options?: CallOptions): Promise<Begun> {
    const { cookieOut, xml } = await this.#rpc.call(procedures.domainMigrateBegin3Params, {
      dom: domain, params: encodeMigrationParams(phase.params), flags: phase.flags,
    }, options);
    return { cookie: cookieOut, xml };
  }

  /** Target: starts a paused guest that waits for memory. It is destroyed when this connection ends before finish. */
  async prepare(step: MigrationStep, options?: CallOptions): Promise<Prepared> {
    const { cookieOut, uriOut } = await this.#rpc.call(procedures.domainMigratePrepare3Params, {
      params: encodeMigrationParams(step.params), cookieIn: step.cookie, flags: step.flags,
    }, options);
    return { cookie: cookieOut, uri: uriOut };
  }

  /** Source: sends the memory; the guest is paused there when this returns. From then to finish nobody runs it. */
  async perform(domain: DomainRef, step: MigrationStep, options: PerformOptions): Promise<{ cookie: Uint8Array }> {
    const { cookieOut } = await this.#rpc.call(procedures.domainMigratePerform3Params, {
      dom: domain,
      dconnuri: null,
      params: encodeMigrationParams(step.params),
      cookieIn: step.cookie,
      flags: step.flags,
    }, options);
    return { cookie: cookieOut };
  }

  /**
   * Target: runs the guest; its success is the point of no return. Cancelled, it destroys the guest and libvirt
   * answers with the *error* `MIGRATE_FINISH_OK` (done) or `NO_DOMAIN` (was gone already): both mean success.
   */
  async finish(end: MigrationEnd, options?: CallOptions): Promise<{ domain: DomainRef; cookie: Uint8Array }> {
    const { dom, cookieOut } = await this.#rpc.call(procedures.domainMigrateFinish3Params, {
      params: encodeMigrationParams(end.params), cookieIn: end.cookie, flags: end.flags, cancelled: end.cancelled,
    }, options);
    return { domain: dom, cookie: cookieOut };
  }

  /** Source: ends its copy, or resumes it if cancelled. Never cancel before it is certain that finish did not run. */
  async confirm(domain: DomainRef, end: MigrationEnd, options?: CallOptions): Promise<void> {
    await this.#rpc.call(procedures.domainMigrateConfirm3Params, {
      dom: domain,
      params: encodeMigrationParams(end.params),
      cookieIn: end.cookie,
      flags: end.flags,
      cancelled: end.cancelled,
    }, options);
  }
}
