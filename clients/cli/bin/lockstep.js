#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
// A file that is there before the build: npm links a command only to one that exists.
import '../dist/main.js';
