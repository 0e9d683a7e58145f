// SPDX-License-Identifier: Apache-2.0

/** How a host's BMC behaves, with what that means. `up` is as it should be; the other twelve are how they fail. */
export const bmcModes = {
  up: 'does what it is told and says what is so',
  dead: 'silent, as one without power',
  slow: 'switches 20 s after it was told to, and is silent until then',
  'wrong-password': 'has another password than everybody knows',
  'accepts-only': 'accepts to switch off and does not',
  'lies-off': 'accepts to switch off, does not, and says off from then on',
  'stuck-on': 'switches, and says on for ever',
  'dies-with-host': 'loses its power when its host crashes',
  drops: 'gets half of what is sent to it',
  'already-off': 'works; somebody switches the host off by hand in this moment',
  watchdog: 'is not there at all; the host has a watchdog, which its agent arms from its next start on',
  'back-after-60-s': 'dead, and back 60 s later',
  'second-device': 'dead; the host has a second device that works, which the services know from their next start on',
} as const;

export type BmcMode = keyof typeof bmcModes;

export const bmcModeNames = Object.keys(bmcModes) as BmcMode[];

/** Whether nothing answers at the first device's address. */
export function isSilent(mode: BmcMode): boolean {
  return mode === 'dead' || mode === 'watchdog' || mode === 'back-after-60-s' || mode === 'second-device';
}
