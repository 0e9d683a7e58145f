// SPDX-License-Identifier: Apache-2.0
import { spawn, type ChildProcess } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const USER = 'lockstep';
export const PASSWORD = 'right-battery-16';
const EMULATOR = [
  'mc_setbmc 0x20',
  'mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr',
  'sel_enable 0x20 1000 0x0a',
  'mc_enable 0x20',
  '',
].join('\n');

/** `ipmi_sim`, a BMC on a loopback port, and its host's power, which is a file. */
export class IpmiSim {
  readonly #folder = mkdtempSync(join(tmpdir(), 'lockstep-ipmi-'));
  readonly #powerFile = join(this.#folder, 'power');
  #child: ChildProcess | undefined;
  port = 0;

  async start(guid: string): Promise<void> {
    this.port = await freePort();
    const chassis = join(this.#folder, 'chassis.sh');
    writeFileSync(
      chassis,
      `#!/bin/sh\ncase "$1 $2" in\n"get power") echo "power:$(cat '${this.#powerFile}')" ;;\n"set power") echo "$3" >'${this.#powerFile}' ;;\nesac\n`,
    );
    chmodSync(chassis, 0o755);
    const levels = ['callback', 'user', 'operator', 'admin'].map((level) => `allowed_auths_${level} none md2 md5 straight`);
    const lan = [
      'name "host"',
      'set_working_mc 0x20',
      ...['startlan 1', `addr 127.0.0.1 ${this.port}`, 'priv_limit admin', ...levels, `guid ${guid}`, 'endlan'],
      `chassis_control "${chassis}"`,
      `user 2 true "${USER}" "${PASSWORD}" admin 10 none md2 md5 straight`,
      '',
    ];
    writeFileSync(join(this.#folder, 'lan.conf'), lan.join('\n'), { mode: 0o600 });
    writeFileSync(join(this.#folder, 'sim.emu'), EMULATOR);
    mkdirSync(join(this.#folder, 'state'));
    this.power = 'on';
    const files = ['-c', join(this.#folder, 'lan.conf'), '-f', join(this.#folder, 'sim.emu')];
    this.#child = spawn('ipmi_sim', [...files, '-n', '-s', join(this.#folder, 'state')], { stdio: 'ignore' });
    await new Promise((resolve, reject) => {
      this.#child?.once('spawn', resolve);
      this.#child?.once('error', reject);
    });
  }

  get power(): 'on' | 'off' {
    return readFileSync(this.#powerFile, 'utf8').trim() === '1' ? 'on' : 'off';
  }

  set power(state: 'on' | 'off') {
    writeFileSync(this.#powerFile, state === 'on' ? '1\n' : '0\n');
  }

  hang(): void {
    this.#child?.kill('SIGSTOP');
  }

  goOn(): void {
    this.#child?.kill('SIGCONT');
  }

  end(): void {
    this.#child?.kill('SIGKILL');
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** A UDP port of loopback that nobody listens at. */
export async function freePort(): Promise<number> {
  const socket = createSocket('udp4');
  return await new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.bind(0, '127.0.0.1', () => {
      const { port } = socket.address();
      socket.close(() => {
        resolve(port);
      });
    });
  });
}
