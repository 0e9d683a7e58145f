// SPDX-License-Identifier: Apache-2.0
// The procedures this package speaks: number, arguments, result. Written by hand from libvirt's published interface;
// fields stand in wire order. `testing/check-protocol-file` compares it with libvirt's own description.
import { type Codec, array, chars, int, nothing, optional, struct, truth, uhyper, uint, uuid } from './codec.js';
import {
  LIMIT, cookie, domain, jobStats, memoryStats, migrationParams, nodeStats, statsRecords, text, textOrNull,
} from './wire-types.js';

/** One remote procedure; `number` is its identity on the wire, `name` is for people. */
export interface Procedure<A, R> {
  readonly name: string;
  readonly number: number;
  readonly args: Codec<A>;
  readonly ret: Codec<R>;
}

/** A message that the server sends by itself. */
export interface EventMessage<M> {
  readonly name: string;
  readonly number: number;
  readonly msg: Codec<M>;
}

type Unnamed<T> = Omit<T, 'name'>;

const procedure = <A, R>(number: number, args: Codec<A>, ret: Codec<R>): Unnamed<Procedure<A, R>> =>
  ({ number, args, ret });

const message = <M>(number: number, msg: Codec<M>): Unnamed<EventMessage<M>> => ({ number, msg });

/** Each entry takes its key as its name. */
function named<T extends object>(table: T): { readonly [K in keyof T]: T[K] & { readonly name: string } } {
  const entries = Object.entries(table).map(([name, entry]: [string, object]) => [name, { ...entry, name }]);
  return Object.fromEntries(entries) as { readonly [K in keyof T]: T[K] & { readonly name: string } };
}

const onlyDom = struct({ dom: domain });
const domAndFlags = struct({ dom: domain, flags: uint });

export const procedures = named({
  connectOpen: procedure(1, struct({ name: textOrNull, flags: uint }), nothing),
  connectClose: procedure(2, nothing, nothing),
  connectGetType: procedure(3, nothing, struct({ type: text })),
  connectGetVersion: procedure(4, nothing, struct({ hvVer: uhyper })),
  nodeGetInfo: procedure(6, nothing, struct({
    model: chars(32), memory: uhyper, cpus: int, mhz: int, nodes: int, sockets: int, cores: int, threads: int,
  })),
  connectGetCapabilities: procedure(7, nothing, struct({ capabilities: text })),
  domainCreateXml: procedure(10, struct({ xmlDesc: text, flags: uint }), onlyDom),
  domainGetXmlDesc: procedure(14, domAndFlags, struct({ xml: text })),
  domainGetInfo: procedure(16, onlyDom, struct({
    state: uint, maxMem: uhyper, memory: uhyper, nrVirtCpu: uint, cpuTime: uhyper,
  })),
  domainLookupByName: procedure(23, struct({ name: text }), onlyDom),
  domainLookupByUuid: procedure(24, struct({ uuid }), onlyDom),
  domainReboot: procedure(27, domAndFlags, nothing),
  domainResume: procedure(28, onlyDom, nothing),
  domainSetAutostart: procedure(29, struct({ dom: domain, autostart: int }), nothing),
  domainSuspend: procedure(34, onlyDom, nothing),
  connectGetHostname: procedure(59, nothing, struct({ hostname: text })),
  connectSupportsFeature: procedure(60, struct({ feature: int }), struct({ supported: truth })),
  authList: procedure(66, nothing, struct({ types: array(int, LIMIT.authTypes) })),
  authPolkit: procedure(70, nothing, struct({ complete: truth })),
  nodeGetFreeMemory: procedure(102, nothing, struct({ freeMem: uhyper })),
  connectGetUri: procedure(110, nothing, struct({ uri: text })),
  domainIsActive: procedure(150, onlyDom, struct({ active: truth })),
  domainIsPersistent: procedure(151, onlyDom, struct({ persistent: truth })),
  connectGetLibVersion: procedure(157, nothing, struct({ libVer: uhyper })),
  connectCompareCpu: procedure(158, struct({ xml: text, flags: uint }), struct({ result: int })),
  domainMemoryStats: procedure(159, struct({ dom: domain, maxStats: uint, flags: uint }),
    struct({ stats: memoryStats })),
  domainAbortJob: procedure(164, onlyDom, nothing),
  domainMigrateSetMaxDowntime: procedure(166, struct({ dom: domain, downtime: uhyper, flags: uint }), nothing),
  domainCreateWithFlags: procedure(196, domAndFlags, onlyDom),
  domainMigrateSetMaxSpeed: procedure(207, struct({ dom: domain, bandwidth: uhyper, flags: uint }), nothing),
  domainGetState: procedure(212, domAndFlags, struct({ state: int, reason: int })),
  nodeGetCpuStats: procedure(227, struct({ cpuNum: int, nparams: int, flags: uint }),
    struct({ params: nodeStats, nparams: int })),
  nodeGetMemoryStats: procedure(228, struct({ nparams: int, cellNum: int, flags: uint }),
    struct({ params: nodeStats, nparams: int })),
  domainUndefineFlags: procedure(231, domAndFlags, nothing),
  domainDestroyFlags: procedure(234, domAndFlags, nothing),
  domainReset: procedure(245, domAndFlags, nothing),
  domainShutdownFlags: procedure(258, domAndFlags, nothing),
  domainSetMetadata: procedure(264, struct({
    dom: domain, type: int, metadata: textOrNull, key: textOrNull, uri: textOrNull, flags: uint,
  }), nothing),
  domainGetMetadata: procedure(265, struct({ dom: domain, type: int, uri: textOrNull, flags: uint }),
    struct({ metadata: text })),
  connectListAllDomains: procedure(273, struct({ needResults: int, flags: uint }),
    struct({ domains: array(domain, LIMIT.domains), ret: uint })),
  domainGetJobStats: procedure(298, domAndFlags, struct({ type: int, params: jobStats })),
  domainMigrateBegin3Params: procedure(302, struct({ dom: domain, params: migrationParams, flags: uint }),
    struct({ cookieOut: cookie, xml: text })),
  domainMigratePrepare3Params: procedure(303, struct({ params: migrationParams, cookieIn: cookie, flags: uint }),
    struct({ cookieOut: cookie, uriOut: textOrNull })),
  domainMigratePerform3Params: procedure(305, struct({
    dom: domain, dconnuri: textOrNull, params: migrationParams, cookieIn: cookie, flags: uint,
  }), struct({ cookieOut: cookie })),
  domainMigrateFinish3Params: procedure(306, struct({
    params: migrationParams, cookieIn: cookie, flags: uint, cancelled: truth,
  }), struct({ dom: domain, cookieOut: cookie })),
  domainMigrateConfirm3Params: procedure(307, struct({
    dom: domain, params: migrationParams, cookieIn: cookie, flags: uint, cancelled: truth,
  }), nothing),
  connectDomainEventCallbackRegisterAny: procedure(316, struct({ eventId: int, dom: optional(domain) }),
    struct({ callbackId: int })),
  connectDomainEventCallbackDeregisterAny: procedure(317, struct({ callbackId: int }), nothing),
  connectGetDomainCapabilities: procedure(342, struct({
    emulatorBin: textOrNull, arch: textOrNull, machine: textOrNull, virtType: textOrNull, flags: uint,
  }), struct({ capabilities: text })),
  connectGetAllDomainStats: procedure(344, struct({ doms: array(domain, LIMIT.domains), stats: uint, flags: uint }),
    struct({ retStats: statsRecords })),
  domainDefineXmlFlags: procedure(350, struct({ xml: text, flags: uint }), onlyDom),
  domainMigrateStartPostCopy: procedure(364, domAndFlags, nothing),
  domainMigrateGetMaxDowntime: procedure(387, domAndFlags, struct({ downtime: uhyper })),
  domainStartDirtyRateCalc: procedure(427, struct({ dom: domain, seconds: int, flags: uint }), nothing),
  domainAbortJobFlags: procedure(442, domAndFlags, nothing),
});

export const eventMessages = named({
  domainEventCallbackLifecycle: message(318, struct({
    callbackId: int, msg: struct({ dom: domain, event: int, detail: int }),
  })),
  domainEventCallbackMigrationIteration: message(359, struct({ callbackId: int, dom: domain, iteration: int })),
  domainEventCallbackJobCompleted: message(363, struct({ callbackId: int, dom: domain, params: jobStats })),
});
