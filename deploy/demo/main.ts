// SPDX-License-Identifier: Apache-2.0
import { parseArgs } from 'node:util';
import { embeddedStage } from './embedded.js';
import { realStage } from './real.js';
import { tellStory } from './story.js';

const { values } = parseArgs({
  options: { keep: { type: 'boolean', default: false }, embedded: { type: 'boolean', default: false } },
});

const begun = performance.now();
const say = (line: string): void => {
  process.stdout.write(`${((performance.now() - begun) / 1000).toFixed(1).padStart(6)} s  ${line}\n`);
};

const isReal = process.getuid?.() === 0 && !values.embedded;
process.stdout.write(
  isReal
    ? 'Lockstep demo on REAL parts: three hosts on this machine, each with libvirtd, QEMU, Consul and an agent.\n'
    : 'Lockstep demo on EMBEDDED parts (not root): the same services on simulated hypervisors; nothing real moves.\n',
);

try {
  const stage = isReal ? await realStage(say) : await embeddedStage(say);
  try {
    const { wrong } = await tellStory(stage, say);
    for (const line of wrong) say(`WRONG: ${line}`);
    say(wrong.length === 0 ? 'the guest moved with its memory, and ran once at every moment' : 'the demo failed');
    process.exitCode = wrong.length === 0 ? 0 : 1;
  } finally {
    if (values.keep && isReal) say(`everything is kept: ${stage.keepHint}`);
    else await stage.close();
  }
} catch (error) {
  process.exitCode = 1;
  say(`failed: ${error instanceof Error ? error.message : String(error)}`);
  if (isReal) say('look at it: npm run lab -- status; npm run lab -- logs HOST PART; begin anew: npm run lab -- down');
}
// What a failed step left open shall not keep this process alive.
process.exit();
