// SPDX-License-Identifier: Apache-2.0

/** How Lockstep speaks gRPC: channels, deadlines, clients without failover. Programs want {@link connect} instead. */
export * from './transport/channel.js';
export * from './transport/client.js';
export * from './transport/deadline.js';
