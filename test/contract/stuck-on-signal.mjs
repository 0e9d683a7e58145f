// SPDX-License-Identifier: Apache-2.0
// Loaded before a service: from SIGUSR2 on its event loop is stuck for good, while the process lives.
process.on('SIGUSR2', () => {
  process.stderr.write('STUCK\n');
  for (;;);
});
