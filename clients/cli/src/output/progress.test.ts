// SPDX-License-Identifier: Apache-2.0
import { Migration, MigrationState } from '@lockstep/sdk/v1';
import { describe, expect, it } from 'vitest';
import { PlayedTerminal } from '../testing/terminal.js';
import { Progress } from './progress.js';

const moving = Migration.fromPartial({
  vmName: 'c1',
  sourceNode: 'h1',
  targetNode: 'h2',
  state: MigrationState.TRANSFERRING,
  progress: {
    memorySentBytes: 430n << 20n,
    memoryRemainingBytes: 90n << 20n,
    dirtyRateBytesPerSecond: 12n << 20n,
    bandwidthBytesPerSecond: 118n << 20n,
    estimate: { nanos: 760_000_000 },
  },
});

describe('progress', () => {
  it('is one line on a terminal, with phase, sent and left, dirty rate, bandwidth and estimate', () => {
    const terminal = new PlayedTerminal();
    terminal.errIsTty = true;
    terminal.env = { NO_COLOR: '1' };
    terminal.errColumns = 120;
    const progress = new Progress(terminal);
    progress.show(moving);
    progress.show(moving);
    progress.end();
    expect(terminal.stderr).not.toContain('\n');
    expect(terminal.stderr.split('\r\u001b[K')[1]).toBe(
      'c1 h1 → h2  TRANSFERRING  430 MiB sent, 90 MiB left · dirty 12 MiB/s · 118 MiB/s · ~760 ms',
    );
    expect(terminal.stderr.endsWith('\r\u001b[K')).toBe(true);
  });

  it('never wraps: a wrapped line cannot be written over', () => {
    const terminal = new PlayedTerminal();
    terminal.errIsTty = true;
    terminal.env = { NO_COLOR: '1' };
    terminal.errColumns = 30;
    new Progress(terminal).show(moving);
    expect(terminal.stderr.replace('\r\u001b[K', '')).toHaveLength(29);
  });

  it('is one plain line for each change of state elsewhere', () => {
    const terminal = new PlayedTerminal();
    const progress = new Progress(terminal);
    progress.show(Migration.fromPartial({ ...moving, state: MigrationState.PENDING, waitingReason: 'NODE_BUSY' }));
    progress.show(moving);
    progress.show(moving);
    progress.end();
    expect(terminal.stderr).toBe('c1 h1 → h2  PENDING  NODE_BUSY\nc1 h1 → h2  TRANSFERRING\n');
    expect(terminal.stdout).toBe('');
  });
});
