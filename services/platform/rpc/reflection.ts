// SPDX-License-Identifier: Apache-2.0
import type { ServiceDefinition } from '@grpc/grpc-js';
import { descriptorSet } from '@lockstep/sdk/v1';
import type { Server } from 'nice-grpc';
import { ServerReflection, ServerReflectionService } from 'nice-grpc-server-reflection';

/** The same service under the name that older tools ask for; its messages are alike. */
function asV1Alpha(): ServiceDefinition {
  const { serverReflectionInfo } = ServerReflectionService;
  const path = serverReflectionInfo.path.replace('reflection.v1.', 'reflection.v1alpha.');
  return { serverReflectionInfo: { ...serverReflectionInfo, path } };
}

/** Lets tools list and call these services without any file of ours. */
export function addReflection(server: Server, serviceNames: readonly string[]): void {
  const reflection = ServerReflection(descriptorSet, serviceNames);
  server.add(ServerReflectionService, reflection);
  server.add(asV1Alpha(), { serverReflectionInfo: reflection.serverReflectionInfo.bind(reflection) });
}
