// SPDX-License-Identifier: Apache-2.0

/** The states of a line: ok, error, warning, tick, info, startup, debug. */
export type LogState = 'o' | 'e' | 'w' | 't' | 'i' | 's' | 'd';

/** Values that go with a line; bigint and Error are written readably. Never a secret. */
export type LogFields = Readonly<Record<string, unknown>>;

/** A logger bound to the subtask it runs in, e.g. `migration/0192…` or `keepalive/vms`. */
export interface Logger {
  log(state: LogState, message: string, fields?: LogFields): void;
  ok(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
  /** A logger for a subtask: its name is appended with a slash. */
  child(subtask: string): Logger;
}
