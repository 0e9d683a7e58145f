// SPDX-License-Identifier: Apache-2.0
import { Argument, type Command } from 'commander';
import { findCluster, openCluster } from '../cluster.js';
import { complete, type LiveKind, type TypedOptions } from '../complete.js';
import { allPages, type ReadPage } from '../pages.js';
import type { Terminal } from '../terminal.js';

/** Each shell asks the program itself, so that its words and the cluster's names are always the present ones. */
const SCRIPTS = {
  bash: `_lockstep() {
  local IFS=$'\\n'
  COMPREPLY=($(lockstep __complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _lockstep lockstep
`,
  zsh: `#compdef lockstep
_lockstep() {
  local -a candidates
  candidates=("\${(@f)$(lockstep __complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -n "\${candidates[1]}" ]]; then compadd -a candidates; else _files; fi
}
compdef _lockstep lockstep
`,
  fish: `function __lockstep_complete
  set -l words (commandline -opc)
  lockstep __complete -- $words[2..-1] (commandline -ct) 2>/dev/null
end
complete -c lockstep -f -a '(__lockstep_complete)'
complete -c lockstep -n '__fish_seen_subcommand_from define' -F
`,
} as const;

type Shell = keyof typeof SCRIPTS;

/** Nobody waits longer than this for the Tab key. */
const LIVE_LIMIT_MS = 1000;
const MOST_NAMES = 500;

export function addCompletionCommands(program: Command, terminal: Terminal): void {
  program
    .command('completion')
    .description('print the completion script of a shell, e.g. for bash: eval "$(lockstep completion bash)"')
    .addArgument(new Argument('<shell>').choices(Object.keys(SCRIPTS)))
    .action((shell: Shell) => {
      terminal.out(SCRIPTS[shell]);
    });

  program
    .command('__complete', { hidden: true })
    .argument('[words...]')
    .action(async (words: string[]) => {
      const { candidates, live, typed, prefix } = complete(program, words);
      const all = live === undefined ? candidates : await liveNames(live, typed, terminal);
      terminal.out(
        all
          .filter((word) => word.startsWith(prefix))
          .map((word) => `${word}\n`)
          .join(''),
      );
    });
}

/** The cluster's present names; none where it does not answer: completion never complains. */
async function liveNames(kind: LiveKind, typed: TypedOptions, terminal: Terminal): Promise<string[]> {
  const names = (read: ReadPage<string>): Promise<string[]> => allPages(read, MOST_NAMES);
  try {
    const where = {
      server: typed['server'],
      context: typed['context'],
      tlsCa: typed['tlsCa'],
      tlsCert: typed['tlsCert'],
      tlsKey: typed['tlsKey'],
    };
    const cluster = await openCluster(findCluster(where, terminal.env), LIVE_LIMIT_MS);
    try {
      switch (kind) {
        case 'vm':
          return await names(async (page) => {
            const { vms, nextPageToken } = await cluster.scheduler.listVms(page);
            return { items: vms.map((vm) => vm.name), nextPageToken };
          });
        case 'node':
          return (await cluster.scheduler.listNodes({})).nodes.map((node) => node.name);
        case 'network':
          return (await cluster.scheduler.listNetworks({})).networks.map((network) => network.name);
        case 'migration':
          return await names(async (page) => {
            const { migrations, nextPageToken } = await cluster.scheduler.listMigrations(page);
            return { items: migrations.map(({ id }) => id), nextPageToken };
          });
      }
    } finally {
      cluster.close();
    }
  } catch {
    return [];
  }
}
