// SPDX-License-Identifier: Apache-2.0
import type { Lockstep } from '@lockstep/sdk';
import { ApiError } from '@lockstep/sdk/errors';
import type { Event } from '@lockstep/sdk/v1';
import type { Command } from 'commander';
import { countArgument, nameArgument } from '../arguments.js';
import { eventView } from '../output/views/event.js';
import { allPages } from '../pages.js';
import { withCluster, type Work } from '../run.js';
import type { Terminal } from '../terminal.js';

const SHOWN = 100;
const VMS = 'vms/';

interface EventsOptions {
  subject?: string;
  follow?: boolean;
  limit: number;
}

type Asked = Pick<EventsOptions, 'limit'> & { subject: string };

export function addEventCommands(program: Command, terminal: Terminal): void {
  program
    .command('events')
    .description('what happened, the newest last')
    .option('--subject <kind/name>', 'only what is about this, e.g. vms/web1 or nodes/h1', nameArgument)
    .option('--follow', 'go on as they happen, until Ctrl-C')
    .option('--limit <count>', 'at most this many of the past', countArgument, SHOWN)
    .action(async (options: EventsOptions, command: Command) => {
      await withCluster(terminal, command, async (work) => {
        const asked = { ...options, subject: await subjectOf(work.cluster, options) };
        if (options.follow === true) await follow(work, asked);
        else work.printer.list(eventView, await past(work.cluster, asked), 'no events are kept');
      });
    });
}

async function past({ scheduler }: Lockstep, { subject, limit }: Asked): Promise<Event[]> {
  const newestFirst = await allPages(async (page) => {
    const answer = await scheduler.listEvents({ ...page, subject });
    return { items: answer.events, nextPageToken: answer.nextPageToken };
  }, limit);
  return newestFirst.reverse();
}

/** The watch begins before the past is read, so that nothing falls between them. */
async function follow({ cluster, printer, terminal }: Work, asked: Asked): Promise<void> {
  const { subject } = asked;
  const letGo = new AbortController();
  const forget = terminal.onInterrupt(() => {
    letGo.abort();
  });
  try {
    let shown: Set<string> | undefined;
    for await (const { events } of cluster.watch.events({ signal: letGo.signal })) {
      if (shown === undefined) {
        const before = await past(cluster, asked);
        shown = new Set(before.map(({ id }) => id));
        for (const event of before) printer.next(eventView, event);
      }
      for (const event of events) {
        const wanted = subject === '' || event.subject === subject;
        if (wanted && !shown.has(event.id)) printer.next(eventView, event);
      }
    }
  } finally {
    forget();
  }
}

/** Events name VMs by their UUID; people also by their name. One that is forgotten keeps its events. */
async function subjectOf({ scheduler }: Lockstep, { subject = '' }: EventsOptions): Promise<string> {
  if (!subject.startsWith(VMS)) return subject;
  try {
    const { vm } = await scheduler.getVm({ vm: subject.slice(VMS.length) });
    return vm === undefined ? subject : `${VMS}${vm.id}`;
  } catch (error) {
    if (error instanceof ApiError && error.reason === 'VM_NOT_FOUND') return subject;
    throw error;
  }
}
