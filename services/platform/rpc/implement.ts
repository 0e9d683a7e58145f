// SPDX-License-Identifier: Apache-2.0
import { mapMethods, type ServiceInfo } from '@lockstep/sdk/transport';
import type { Server, ServiceImplementation } from 'nice-grpc';
import { LockstepError } from '../../core/errors/catalogue.js';

/** A service with its implementation, ready to be served. Made by {@link service}. */
export interface ServedService {
  /** E.g. `lockstep.v1.SchedulerService`: the name health and reflection know it by. */
  readonly fullName: string;
  addTo(server: Server): void;
}

/** Ties an implementation to its definition; the types must fit. */
export function service<D extends ServiceInfo>(definition: D, implementation: ServiceImplementation<D>): ServedService {
  return {
    fullName: definition.fullName,
    addTo: (server) => {
      server.add(definition, implementation);
    },
  };
}

/** A whole implementation: methods that are not built yet answer UNIMPLEMENTED with NOT_IMPLEMENTED and their name. */
export function implement<D extends ServiceInfo>(
  definition: D,
  partial: Partial<ServiceImplementation<D>>,
): ServiceImplementation<D> {
  const refusal = (name: string): LockstepError => {
    const method = `${definition.fullName}/${name}`;
    return new LockstepError('NOT_IMPLEMENTED', `${method} is not built yet`, { method });
  };
  const missing = mapMethods(definition, {
    unary: (_method, { name }) => () => Promise.reject(refusal(name)),
    stream: (_method, { name }) => () => ({
      [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(refusal(name)) }),
    }),
  });
  // Bound, because an implementation may be a class: its methods are then not among the own properties.
  const built = mapMethods(definition, {
    unary: (method) => bound(partial, method) as never,
    stream: (method) => bound(partial, method) as never,
  });
  const own = Object.entries(built).filter(([, call]) => call !== undefined);
  return { ...missing, ...Object.fromEntries(own) } as ServiceImplementation<D>;
}

function bound(target: object, method: string): unknown {
  const call: unknown = Reflect.get(target, method);
  return typeof call === 'function' ? call.bind(target) : undefined;
}
