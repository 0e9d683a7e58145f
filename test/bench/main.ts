// SPDX-License-Identifier: Apache-2.0
import { Command, InvalidArgumentError } from 'commander';
import { benchCrissCross } from './criss-cross.js';
import { benchFailover } from './failover.js';
import { benchKeepalive } from './keepalive.js';
import { benchLibvirt } from './libvirt.js';
import { benchMigration } from './migration.js';
import { benchScale } from './scale.js';
import { formatReport, type Report } from './report.js';

const begun = performance.now();

/** Progress goes to stderr: stdout is the result's. */
function say(line: string): void {
  process.stderr.write(`${((performance.now() - begun) / 1000).toFixed(1).padStart(6)} s  ${line}\n`);
}

function count(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('It must be a whole number above 0.');
  return value;
}

function print(report: Report, json: boolean): void {
  process.stdout.write(json ? `${JSON.stringify(report, null, 2)}\n` : formatReport(report));
}

const program = new Command('bench')
  .description('Measures this project against virsh on real parts. Needs root. A missed goal is told, and is no failure.')
  .showHelpAfterError();

program
  .command('libvirt')
  .description('node-libvirt against virsh: hostname, list, stats of all domains')
  .option('--rounds <count>', 'how often virsh is run for each', count, 50)
  .option('--json', 'print the result as JSON', false)
  .action(async ({ rounds, json }: { rounds: number; json: boolean }) => {
    print(await benchLibvirt({ rounds, say }), json);
  });

program
  .command('migration')
  .description('the running mesh against virsh migrate --live')
  .option('--moves <count>', 'moves of each guest by each way', count, 10)
  .option('--json', 'print the result as JSON', false)
  .action(async ({ moves, json }: { moves: number; json: boolean }) => {
    print(await benchMigration({ moves, say }), json);
  });

program
  .command('criss-cross')
  .description('many migrations at once over three hosts, against a shell loop of virsh migrate; the gap; a takeover')
  .option('--guests <count>', 'guests that move at once', count, 20)
  .option('--rounds <count>', 'how often all of them move', count, 3)
  .option('--json', 'print the result as JSON', false)
  .action(async ({ guests, rounds, json }: { guests: number; rounds: number; json: boolean }) => {
    print(await benchCrissCross({ count: guests, rounds, say }), json);
  });

program
  .command('failover')
  .description('hosts that are killed, until their guest counts elsewhere')
  .option('--kills <count>', 'in all; each setting gets its share', count, 20)
  .option('--only <texts...>', 'only settings whose title holds one of these, such as "power" or "silence"', [])
  .option('--json', 'print the result as JSON', false)
  .action(async ({ kills, only, json }: { kills: number; only: string[]; json: boolean }) => {
    print(await benchFailover({ kills, only, say }), json);
  });

program
  .command('keepalive')
  .description('one agent with 300 domains: processor time, and how late its heartbeats are, also under faults')
  .option('--guests <count>', 'guests that run besides', count, 20)
  .option('--seconds <count>', 'how long each phase is measured', count, 60)
  .option('--json', 'print the result as JSON', false)
  .action(async ({ guests, seconds, json }: { guests: number; seconds: number; json: boolean }) => {
    print(await benchKeepalive({ guests, seconds, say }), json);
  });

program
  .command('scale')
  .description('many simulated agents streaming to one Scheduler: processor time, memory, Consul writes')
  .option('--agents <count>', 'how many', count, 1_000)
  .option('--seconds <count>', 'how long each phase is measured', count, 30)
  .option('--json', 'print the result as JSON', false)
  .action(async ({ agents, seconds, json }: { agents: number; seconds: number; json: boolean }) => {
    print(await benchScale({ agents, seconds, say }), json);
  });

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = 1;
  say(`failed: ${error instanceof Error ? error.message : String(error)}`);
}
