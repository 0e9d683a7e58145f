// SPDX-License-Identifier: Apache-2.0
import type { Command, Option } from 'commander';

/** Names that only the cluster knows. */
export type LiveKind = 'vm' | 'node' | 'migration' | 'network';

/** Options typed before the word in question, by their name in the program. */
export type TypedOptions = Readonly<Record<string, string | undefined>>;

export interface Completion {
  /** What could stand here. */
  candidates: string[];
  /** Names of the cluster could stand here instead. */
  live?: LiveKind;
  typed: TypedOptions;
  /** What was typed of the word so far. */
  prefix: string;
}

const LIVE_OF_ARGUMENT: Readonly<Record<string, LiveKind>> = { vm: 'vm', node: 'node', id: 'migration', network: 'network' };

/** What could stand at the last of these words; the words before it are whole. */
export function complete(program: Command, words: readonly string[]): Completion {
  const prefix = words.at(-1) ?? '';
  const typed: Record<string, string> = {};
  let command = program;
  let position = 0;
  let pending: Option | undefined;
  for (const word of words.slice(0, -1)) {
    if (pending !== undefined) {
      typed[pending.attributeName()] = word;
      pending = undefined;
    } else if (word.startsWith('-')) {
      const [flag, value] = word.split('=', 2);
      const option = optionsOf(command).find(({ long, short }) => flag === long || flag === short);
      if (option?.required === true && value === undefined) pending = option;
      else if (option !== undefined && value !== undefined) typed[option.attributeName()] = value;
    } else {
      const next = command.commands.find((sub) => sub.name() === word);
      if (next === undefined) position += 1;
      else command = next;
    }
  }
  return { ...choicesAt(command, position, pending, prefix), typed, prefix };
}

function choicesAt(
  command: Command,
  position: number,
  pending: Option | undefined,
  prefix: string,
): { candidates: string[]; live?: LiveKind } {
  if (pending !== undefined) {
    return namesFor(pending.attributeName(), pending.argChoices);
  }
  if (prefix.startsWith('-')) {
    const shown = optionsOf(command).filter((option) => !option.hidden);
    return { candidates: shown.map((option) => option.long ?? option.short ?? '') };
  }
  if (command.commands.length > 0) {
    return { candidates: command.createHelp().visibleCommands(command).map((sub) => sub.name()) };
  }
  const argument = command.registeredArguments[position];
  return argument === undefined ? { candidates: [] } : namesFor(argument.name(), argument.argChoices);
}

function namesFor(name: string, choices: readonly string[] | undefined): { candidates: string[]; live?: LiveKind } {
  const live = LIVE_OF_ARGUMENT[name];
  return live === undefined ? { candidates: [...(choices ?? [])] } : { candidates: [], live };
}

/** A command's options and those of the commands above it. */
function optionsOf(command: Command): Option[] {
  return command.parent === null ? [...command.options] : [...command.options, ...optionsOf(command.parent)];
}
