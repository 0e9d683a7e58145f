// SPDX-License-Identifier: Apache-2.0

/** Told of every call that ended: its name, how long it took, what it failed with (undefined: it did not). */
export type CallObserver = (call: string, tookMs: number, error: unknown) => void;

/** How an object is observed. */
export interface Observation<T extends object> {
  /** Methods that return promises and whose calls are timed. */
  calls: readonly (keyof T & string)[];
  nowMs: () => number;
  observe: CallObserver;
}

/** The same object, with some of its calls timed from their sending to their answer. Everything else passes through. */
export function timed<T extends object>(object: T, { calls, nowMs, observe }: Observation<T>): T {
  const wanted = new Set<string | symbol>(calls);
  const functions = new Map<string | symbol, unknown>();
  const wrapped = (name: string | symbol, method: (...input: unknown[]) => unknown): unknown => {
    const call = String(name);
    if (!wanted.has(name)) return (...input: unknown[]) => Reflect.apply(method, object, input);
    return async (...input: unknown[]) => {
      const startedMs = nowMs();
      try {
        const result: unknown = await Reflect.apply(method, object, input);
        observe(call, nowMs() - startedMs, undefined);
        return result;
      } catch (error) {
        observe(call, nowMs() - startedMs, error);
        throw error;
      }
    };
  };
  return new Proxy(object, {
    // Methods run on the object itself: private fields are not reachable through a proxy.
    get: (_target, name) => {
      const member: unknown = Reflect.get(object, name, object);
      if (!isFunction(member)) return member;
      if (!functions.has(name)) functions.set(name, wrapped(name, member));
      return functions.get(name);
    },
  });
}

function isFunction(member: unknown): member is (...input: unknown[]) => unknown {
  return typeof member === 'function';
}
