// SPDX-License-Identifier: Apache-2.0
import { connect, Lifecycle } from '@lockstep/node-libvirt';
import { afterEach, beforeAll, expect, it } from 'vitest';
import { attemptVirsh, hostNamed } from '../../deploy/lab/api.js';
import { removeGuests, startGuest } from './guest.js';
import { lab, lockstep, meshUp } from './mesh.js';

const MOVES = 6;

beforeAll(meshUp);
afterEach(removeGuests);

/** libvirt's own word on a domain of one host, in the order in which it came. */
async function listenTo(host: string, uuid: string): Promise<{ changes: number[]; close(): Promise<void> }> {
  const connection = await connect({ socketPath: hostNamed(lab, host).libvirtSocket });
  const events = await connection.events.subscribe(['lifecycle']);
  const changes: number[] = [];
  const listen = async (): Promise<void> => {
    for await (const event of events) {
      if (event.kind === 'lifecycle' && event.domain.uuid === uuid) changes.push(event.change);
    }
  };
  listen().catch(() => undefined);
  return { changes, close: () => connection.close() };
}

it('no definition appears on the source once a guest has left it', async () => {
  const guest = await startGuest('h1');
  for (let move = 0; move < MOVES; move++) {
    const [source, target] = move % 2 === 0 ? ['h1', 'h2'] : ['h2', 'h1'];
    const heard = await listenTo(source, guest.id);
    try {
      const moved = await lockstep('vm', 'migrate', guest.name, target, '--force-live', '--wait', '--timeout', '120s');
      expect(moved, moved.stderr).toMatchObject({ code: 0 });
      // Long enough for whatever an agent, told or by itself, might still do there.
      await guest.countsOn();
      // The hypervisor drops what it had defined along with the guest, and tells of the guest's end alone.
      const gone = heard.changes.lastIndexOf(Lifecycle.STOPPED);
      expect(gone, `what ${source} told: ${heard.changes.join(' ')}`).toBeGreaterThanOrEqual(0);
      expect(heard.changes.slice(gone + 1)).not.toContain(Lifecycle.DEFINED);
      expect((await attemptVirsh(hostNamed(lab, source), ['list', '--all', '--name'])).stdout).not.toContain(guest.name);
      await guest.runsOnlyOn(target);
    } finally {
      await heard.close();
    }
  }
});
