// SPDX-License-Identifier: Apache-2.0

/** Everything generated from `proto/lockstep/v1`: messages, enums, service definitions. */
export * from './gen/index.lockstep.v1.js';
export { Duration } from './gen/google/protobuf/duration.js';
export { descriptorSet } from './gen/descriptors.js';
