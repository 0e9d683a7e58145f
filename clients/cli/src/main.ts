#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
import { runCommandLine } from './program.js';
import { processTerminal } from './terminal.js';

// `lockstep vm list | head -1` closes the pipe early: nobody wants the rest, and nothing went wrong.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit();
  });
}

process.exitCode = await runCommandLine(process.argv.slice(2), processTerminal());
