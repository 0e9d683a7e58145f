// SPDX-License-Identifier: Apache-2.0
import { ClusterOptions, Selector, ShutdownPolicy } from '@lockstep/sdk/v1';
import type { View } from '../print.js';
import { renderFacts, type Facts } from '../table.js';
import { formatBytes } from '../units.js';
import { wordOf } from '../words.js';

/** A setting, or the default where nobody set it. */
function setting<T>(value: T | undefined, fallback: string, text: (value: T) => string = String): string {
  return value === undefined ? `${fallback} (default)` : text(value);
}

function factsOf(options: ClusterOptions): Facts {
  const { selector, shutdownPolicy } = options;
  return [
    ['Memory ratio', setting(options.memoryRatio, '1')],
    ['Memory reserve', setting(options.memoryReserveBytes, '512 MiB', formatBytes)],
    ['vCPU ratio', setting(options.vcpuRatio, '16')],
    ['Moves out of a node', setting(options.migrationsOutPerNode, '2')],
    ['Moves into a node', setting(options.migrationsInPerNode, '2')],
    ['Moves in the cluster', setting(options.migrationsPerCluster, '10')],
    ['Selector', setting(selector === Selector.UNSPECIFIED ? undefined : wordOf(Selector, selector), 'MEM')],
    [
      'Shutdown policy',
      setting(shutdownPolicy === ShutdownPolicy.UNSPECIFIED ? undefined : wordOf(ShutdownPolicy, shutdownPolicy), 'CONDITIONAL'),
    ],
  ];
}

export const optionsView: View<ClusterOptions> = {
  columns: () => [{ header: 'ETAG', text: (options) => options.etag }],
  name: (options) => options.etag,
  toJson: (options) => ClusterOptions.toJSON(options),
  details: (options, page) => renderFacts(factsOf(options), page.paint),
};
