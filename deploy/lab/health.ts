// SPDX-License-Identifier: Apache-2.0
import { Client, credentials } from '@grpc/grpc-js';
import { messageOf } from './errors.js';

const answerLimitMs = 2_000;
/** HealthCheckResponse{status: SERVING} as it is on the wire: for this one message no generated code is needed. */
const serving = Buffer.from([0x08, 0x01]);

/** Asks a gRPC server for its health. Returns what is wrong, undefined when it serves. */
export function healthOf(address: string): Promise<string | undefined> {
  const client = new Client(address, credentials.createInsecure());
  const identity = (bytes: Buffer) => bytes;
  return new Promise<string | undefined>((resolve) => {
    client.makeUnaryRequest(
      '/grpc.health.v1.Health/Check',
      identity,
      identity,
      Buffer.alloc(0),
      { deadline: Date.now() + answerLimitMs },
      (error, answer) => {
        if (error !== null) resolve(messageOf(error));
        else resolve(answer?.equals(serving) === true ? undefined : 'not serving');
      },
    );
  }).finally(() => {
    client.close();
  });
}
