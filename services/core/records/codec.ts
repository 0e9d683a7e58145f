// SPDX-License-Identifier: Apache-2.0
import { Arming, ClusterOptions, Drain, Event, FenceAction, FenceDrill, Leader, Migration, Network, Node, Vm } from '@lockstep/sdk/v1';
import { LockstepError } from '../errors/catalogue.js';

/** Consul takes 512 KiB; half of it leaves room for base64 and for the other operations of a transaction. */
const RECORD_LIMIT_BYTES = 256 * 1024 + 64 * 1024;

/** A record as it lies in the store: what was read, and the index it was read at. */
export interface Stored<T> {
  record: T;
  index: bigint;
}

interface MessageType<T> {
  fromJSON(object: unknown): T;
  toJSON(message: T): unknown;
}

/** How one kind of record is written: as proto3-JSON, readable in an emergency, without what is only ever live. */
export interface RecordCodec<T> {
  encode(record: T): string;
  decode(text: string, index: bigint): T;
}

function codec<T>(kind: string, type: MessageType<T>, durable: (record: T) => T, live: (record: T, etag: string) => T) {
  return {
    encode(record: T): string {
      const text = JSON.stringify(type.toJSON(durable(record)));
      if (text.length > RECORD_LIMIT_BYTES) {
        throw new LockstepError('INVALID_FIELD', `${kind}: the record is larger than the store takes`, {
          field: kind,
          got: `${String(text.length)} bytes`,
          want: `at most ${String(RECORD_LIMIT_BYTES)} bytes`,
        });
      }
      return text;
    },
    decode(text: string, index: bigint): T {
      try {
        return live(type.fromJSON(JSON.parse(text)), index.toString());
      } catch (error) {
        throw new LockstepError('INTERNAL', `${kind}: the stored record cannot be read`, {}, { cause: error });
      }
    },
  } satisfies RecordCodec<T>;
}

export const vmCodec = codec<Vm>(
  'vm',
  Vm,
  (vm) => ({ ...vm, status: undefined, etag: '' }),
  (vm, etag) => ({ ...vm, etag }),
);

export const migrationCodec = codec<Migration>(
  'migration',
  Migration,
  (migration) => ({ ...migration, progress: undefined, etag: '' }),
  (migration, etag) => ({ ...migration, etag }),
);

/** Of a node only what must survive is stored: never its figures. */
export const nodeCodec = codec<Node>(
  'node',
  Node,
  (node) => ({
    ...node,
    figures: undefined,
    heartbeatAge: undefined,
    conditions: [],
    networks: [],
    bridges: [],
    ceph: undefined,
    etag: '',
  }),
  (node, etag) => ({ ...node, etag }),
);

export const networkCodec = codec<Network>(
  'network',
  Network,
  (network) => ({ ...network, etag: '' }),
  (network, etag) => ({ ...network, etag }),
);

export const drainCodec = codec<Drain>(
  'drain',
  Drain,
  (drain) => ({ ...drain, etag: '' }),
  (drain, etag) => ({ ...drain, etag }),
);

export const optionsCodec = codec<ClusterOptions>(
  'options',
  ClusterOptions,
  (options) => ({ ...options, etag: '' }),
  (options, etag) => ({ ...options, etag }),
);

export const eventCodec = codec<Event>(
  'event',
  Event,
  (event) => event,
  (event) => event,
);

export const fenceActionCodec = codec<FenceAction>(
  'fence action',
  FenceAction,
  (action) => ({ ...action, etag: '' }),
  (action, etag) => ({ ...action, etag }),
);

export const fenceDrillCodec = codec<FenceDrill>(
  'fence drill',
  FenceDrill,
  (drill) => ({ ...drill, etag: '' }),
  (drill, etag) => ({ ...drill, etag }),
);

export const armingCodec = codec<Arming>(
  'arming',
  Arming,
  (arming) => arming,
  (arming) => arming,
);

export const leaderCodec = codec<Leader>(
  'leader',
  Leader,
  (leader) => leader,
  (leader) => leader,
);
