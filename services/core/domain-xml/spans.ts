// SPDX-License-Identifier: Apache-2.0

/** Where an element stands in its text: offsets of its first character, behind its start tag, and behind its end. */
export interface ElementSpan {
  readonly tagName: string;
  readonly start: number;
  readonly contentStart: number;
  /** Where its end tag begins; equal to `end` for an empty-element tag. */
  contentEnd: number;
  end: number;
  /** Written as `<name/>`. */
  readonly selfClosing: boolean;
}

/** What a document may cost. */
export interface SpanLimits {
  maxDepth: number;
  maxAttributes: number;
}

/** One piece of markup; what is between two pieces is text. Quoted attribute values may hold `>`. */
const MARKUP = /<!--[\s\S]*?-->|<!\[CDATA\[[\s\S]*?\]\]>|<\?[\s\S]*?\?>|<\/([^\s<>/]+)\s*>|<([^\s<>/!?]+)((?:\s+[^\s<>/="']+\s*=\s*(?:"[^"<]*"|'[^'<]*'))*)\s*(\/?)>/y;
/** With no document type there are no entities but these. */
const BARE_AMPERSAND = /&(?!(?:amp|lt|gt|quot|apos|#[0-9]+|#x[0-9a-fA-F]+);)/;
const ATTRIBUTE = /=\s*(?:"[^"]*"|'[^']*')/g;

/**
 * Finds every element's place, in document order, so that one can be changed and all the rest kept to the byte.
 * Returns what is wrong where the markup is not balanced or too much.
 */
export function elementSpans(text: string, limits: SpanLimits): ElementSpan[] | string {
  const spans: ElementSpan[] = [];
  const open: ElementSpan[] = [];
  let end = 0;
  for (let at = text.indexOf('<'); at !== -1; at = text.indexOf('<', end)) {
    MARKUP.lastIndex = at;
    const match = MARKUP.exec(text);
    if (match === null) return `markup that is not well-formed at ${place(text, at)}`;
    const [markup, closes, opens, attributes = '', slash] = match;
    if (BARE_AMPERSAND.test(text.slice(end, at) + attributes)) return `"&" without an entity at ${place(text, at)}`;
    end = at + markup.length;
    if (closes !== undefined) {
      const element = open.pop();
      if (element?.tagName !== closes) return `</${closes.slice(0, 60)}> that closes nothing at ${place(text, at)}`;
      element.contentEnd = at;
      element.end = end;
    } else if (opens !== undefined) {
      if ((attributes.match(ATTRIBUTE)?.length ?? 0) > limits.maxAttributes) {
        return `an element with more than ${String(limits.maxAttributes)} attributes at ${place(text, at)}`;
      }
      if (open.length >= limits.maxDepth) return `elements nested deeper than ${String(limits.maxDepth)}`;
      const selfClosing = slash === '/';
      const element = { tagName: opens, start: at, contentStart: end, contentEnd: end, end, selfClosing };
      spans.push(element);
      if (!selfClosing) open.push(element);
    }
  }
  const unclosed = open.at(-1);
  return unclosed === undefined ? spans : `<${unclosed.tagName.slice(0, 60)}> that is never closed`;
}

function place(text: string, at: number): string {
  const lines = text.slice(0, at).split('\n');
  return `line ${String(lines.length)}, column ${String((lines.at(-1)?.length ?? 0) + 1)}`;
}
