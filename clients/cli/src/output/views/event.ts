// SPDX-License-Identifier: Apache-2.0
import { Event, EventSeverity } from '@lockstep/sdk/v1';
import type { View } from '../print.js';
import { NONE } from '../units.js';
import { wordOf, type Colour } from '../words.js';

const COLOURS: Readonly<Record<string, Colour>> = { WARNING: 'yellow', ERROR: 'red' };

const severityOf = ({ severity }: Event): string => wordOf(EventSeverity, severity);

export const eventView: View<Event> = {
  columns: () => [
    { header: 'TIME', text: ({ time }) => time?.toISOString() ?? NONE },
    { header: 'SEVERITY', text: severityOf, colour: (event) => COLOURS[severityOf(event)] },
    { header: 'REASON', text: ({ reason }) => reason },
    { header: 'ACTOR', text: ({ actor }) => actor, wide: true },
    { header: 'SUBJECT', text: ({ subject }) => subject, wide: true },
    { header: 'MESSAGE', text: ({ message }) => message, shrinks: true },
  ],
  name: ({ id }) => id,
  toJson: (event) => Event.toJSON(event),
};
