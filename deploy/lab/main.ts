#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { Command, Option } from 'commander';
import { bmcModeNames, bmcModes } from './bmc-modes.js';
import { setBmcMode } from './bmc.js';
import { cephDaemons, signalCeph } from './ceph.js';
import { cephConfigFile } from './ceph-files.js';
import { requireOwn, requireUp } from './claim.js';
import { LabError } from './errors.js';
import { inside, logFileOf } from './host.js';
import { hostNamed, layout, networkNames, type HostLayout, type Lab, type NetworkName } from './layout.js';
import { exclusively } from './lock.js';
import { limit, plug } from './network.js';
import { awaitPart, killPart, partNamed, signalPart, startPart } from './parts.js';
import { status, statusTable } from './status.js';
import { crashHost, down, power, startHost, up } from './up.js';

const lab = layout();

function report(line: string): void {
  process.stderr.write(`lab: ${line}\n`);
}

/** The host of a verb that needs the lab to be up. */
function hostOf(name: string): HostLayout {
  requireUp(lab);
  requireOwn(lab);
  return hostNamed(lab, name);
}

/** Becomes the program as far as a terminal and an exit code can tell. */
function become(argv: readonly string[]): Promise<void> {
  const [program = '', ...args] = argv;
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: 'inherit', cwd: '/' });
    // The terminal sends its signals to both: the program decides what they mean.
    process.on('SIGINT', () => undefined);
    child.on('error', reject);
    child.on('close', (code) => {
      process.exitCode = code ?? 1;
      resolve();
    });
  });
}

const changing = (verb: string, work: (lab: Lab) => Promise<void>) => exclusively(lab, verb, () => work(lab));

const program = new Command('lab')
  .description('Three hosts on this machine, each with libvirtd, Consul, a BMC and the services. Needs root.')
  .enablePositionalOptions()
  .showHelpAfterError();

program
  .command('up')
  .description('bring everything up, whatever state it is in; repeat it at any time')
  .addOption(
    new Option('--without <group>', 'leave out the services: only Consul, libvirtd and the BMCs').choices(['services']),
  )
  .option('--ceph', 'with a storage cluster of one OSD, outside of the hosts; its packages are installed if need be')
  .action(async ({ without, ceph: withCeph }: { without?: string; ceph?: true }) => {
    await up(lab, { withServices: without === undefined, ...(withCeph === undefined ? {} : { withCeph }), report });
    report(`lab ${lab.name} is up`);
  });

program
  .command('down')
  .description('take everything off this machine again')
  .option('--force', 'even if another checkout started it')
  .action(async ({ force }: { force?: boolean }) => {
    if (!(await down(lab, { force: force === true, report }))) report(`lab ${lab.name} was not up`);
  });

program
  .command('status')
  .description('what runs on each host')
  .addOption(new Option('-o, --output <format>').choices(['table', 'json']).default('table'))
  .action(async ({ output }: { output: string }) => {
    requireUp(lab);
    const hosts = await status(lab);
    process.stdout.write(`${output === 'json' ? JSON.stringify(hosts, null, 2) : statusTable(hosts)}\n`);
  });

program
  .command('enter <host> [command...]')
  .description('a shell, or one command, inside the host')
  .passThroughOptions()
  .action(async (name: string, command: string[]) => {
    await become([...inside(hostOf(name)), ...(command.length > 0 ? command : [process.env['SHELL'] ?? '/bin/sh'])]);
  });

program
  .command('kill <host> <part>')
  .description("end the part at once; nothing starts it again (a guest's QEMU is the part vm/NAME)")
  .action(async (name: string, part: string) => {
    await killPart(hostOf(name), part);
  });

for (const [verb, signal, what] of [
  ['stop', 'SIGSTOP', 'freeze the part where it is'],
  ['cont', 'SIGCONT', 'let a frozen part go on'],
] as const) {
  program
    .command(`${verb} <host> <part>`)
    .description(`${what} (a guest's QEMU is the part vm/NAME)`)
    .action((name: string, part: string) => {
      signalPart(hostOf(name), part, signal);
    });
}

program
  .command('start <host> [part]')
  .description('boot the host and start every part that does not run, or only the one')
  .action(async (name: string, partName: string | undefined) => {
    const host = hostOf(name);
    if (partName === undefined) return startHost(lab, host, report);
    const part = partNamed(partName);
    return changing(`start ${name} ${partName}`, async () => {
      await startPart(lab, host, part);
      await awaitPart(lab, host, part);
    });
  });

program
  .command('crash <host>')
  .description('every process of the host dies; its power stays on')
  .action(async (name: string) => {
    await crashHost(hostOf(name));
  });

program
  .command('power <host> <state>')
  .description('on or off, through the BMC; on returns before the host has booted')
  .action(async (name: string, state: string) => {
    if (state !== 'on' && state !== 'off') throw new LabError(`"${state}" is neither on nor off`);
    report(await power(hostOf(name), state === 'on'));
  });

program
  .command('bmc <host> <mode>')
  .description('how its BMC behaves')
  .addHelpText('after', `\nModes:\n${Object.entries(bmcModes).map(([name, what]) => `  ${name.padEnd(16)}${what}`).join('\n')}`)
  .option('--after <seconds>', 'wait so long first', '0')
  .action(async (name: string, wanted: string, { after }: { after: string }) => {
    const mode = bmcModeNames.find((known) => known === wanted);
    if (mode === undefined) throw new LabError(`there is no mode "${wanted}"`, `the modes are ${bmcModeNames.join(', ')}`);
    const host = hostOf(name);
    await sleep(Number(after) * 1_000);
    await changing(`bmc ${name}`, () => setBmcMode(lab, host, mode));
  });

const deeds = new Map<string, 'SIGSTOP' | 'SIGCONT' | 'SIGKILL'>([['stop', 'SIGSTOP'], ['cont', 'SIGCONT'], ['kill', 'SIGKILL']]);

program
  .command('ceph-daemon <daemon> <deed>')
  .description(`stop, cont or kill one of Ceph's (${cephDaemons.join(', ')}); up --ceph starts what is dead, with empty disks if it was the osd`)
  .action((name: string, deed: string) => {
    requireUp(lab);
    requireOwn(lab);
    const daemon = cephDaemons.find((known) => known === name);
    if (daemon === undefined) throw new LabError(`there is no daemon "${name}"`, `they are ${cephDaemons.join(', ')}`);
    const kind = deeds.get(deed);
    if (kind === undefined) throw new LabError(`"${deed}" is none of stop, cont and kill`);
    signalCeph(lab, daemon, kind);
  });

for (const tool of ['ceph', 'rbd']) {
  program
    .command(`${tool} [arguments...]`)
    .description(`${tool} as the storage cluster's administrator`)
    .passThroughOptions()
    .allowUnknownOption()
    .action(async (args: string[]) => {
      requireUp(lab);
      await become([tool, '--conf', cephConfigFile(lab), ...args]);
    });
}

for (const [verb, inserted, what] of [
  ['cut', false, "pull the host's network cables, or one of them"],
  ['heal', true, 'put them in again'],
] as const) {
  program
    .command(`${verb} <host>`)
    .description(what)
    .addOption(new Option('--net, --network <network>', 'a carries calls and memory, b is for management').choices(networkNames))
    .action(async (name: string, { network: net }: { network?: NetworkName }) => {
      const host = hostOf(name);
      for (const network of net === undefined ? networkNames : [net]) await plug(host, network, inserted);
    });
}

program
  .command('limit <host> <rate>')
  .description('limit network a of the host both ways, such as 100mbit; off takes the limit away')
  .action(async (name: string, rate: string) => {
    await limit(hostOf(name), rate === 'off' ? undefined : rate);
  });

program
  .command('logs <host> <part>')
  .description('what the part printed')
  .option('-f, --follow', 'and what it prints from now on')
  .option('-n, --lines <count>', 'that many of the last lines', '200')
  .action(async (name: string, part: string, { follow, lines }: { follow?: boolean; lines: string }) => {
    const file = logFileOf(
      hostOf(name),
      part === 'bmc' || part === 'host' || part === 'boot' ? part : partNamed(part).name,
    );
    await become(['tail', '-n', lines, ...(follow === true ? ['-F'] : []), file]);
  });

try {
  await program.parseAsync();
} catch (error) {
  report(error instanceof Error ? error.message : String(error));
  if (error instanceof LabError && error.hint !== undefined) report(error.hint);
  else if (!(error instanceof LabError) && error instanceof Error && error.stack !== undefined) report(error.stack);
  process.exitCode = 1;
}
