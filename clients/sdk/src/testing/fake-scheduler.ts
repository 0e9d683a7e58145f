// SPDX-License-Identifier: Apache-2.0
import { createServer, Status } from 'nice-grpc';
import { ErrorInfo, errorDetailsServerMiddleware, RichServerError } from 'nice-grpc-error-details';
import { ERROR_DOMAIN } from '../errors.js';
import { mapMethods } from '../transport/client.js';
import { SchedulerServiceDefinition, type SchedulerServiceImplementation } from '../v1.js';

/** A refusal as a Lockstep service gives it. */
export function refusal(code: Status, reason: string, metadata: Record<string, string> = {}): RichServerError {
  return new RichServerError(code, `refused: ${reason}`, [ErrorInfo.fromPartial({ reason, domain: ERROR_DOMAIN, metadata })]);
}

/** A server of a test's own. */
export interface FakeScheduler {
  readonly address: string;
  stop(): void;
}

/** Serves these methods of the Scheduler on loopback; the others are UNIMPLEMENTED. */
export async function startFakeScheduler(
  methods: Partial<SchedulerServiceImplementation>,
  listen = '127.0.0.1:0',
): Promise<FakeScheduler> {
  const missing = mapMethods(SchedulerServiceDefinition, {
    unary: () => () => Promise.reject(refusal(Status.UNIMPLEMENTED, 'NOT_IMPLEMENTED')),
    stream: () =>
      async function* () {
        yield await Promise.reject(refusal(Status.UNIMPLEMENTED, 'NOT_IMPLEMENTED'));
      },
  }) as SchedulerServiceImplementation;
  const server = createServer().use(errorDetailsServerMiddleware);
  server.add(SchedulerServiceDefinition, { ...missing, ...methods });
  const port = await server.listen(listen);
  return {
    address: `127.0.0.1:${String(port)}`,
    stop: () => {
      server.forceShutdown();
    },
  };
}
