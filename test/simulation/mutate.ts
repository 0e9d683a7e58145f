// SPDX-License-Identifier: Apache-2.0
import { register } from 'node:module';

/** A mistake to plant: in this compiled file of the services, this text becomes that. */
export interface Mutation {
  /** E.g. `node-agent/orders.js`. */
  file: string;
  find: string;
  replace: string;
}

/** Runs in Node's loader: hands out the mutated text, and refuses to run on without it. */
function loader(mutations: readonly Mutation[]): string {
  return `
    const mutations = ${JSON.stringify(mutations)};
    export async function load(url, context, next) {
      const loaded = await next(url, context);
      const mine = mutations.filter(({ file }) => url.endsWith('/services/dist/' + file));
      if (mine.length === 0) return loaded;
      let source = String(loaded.source);
      for (const { file, find, replace } of mine) {
        if (!source.includes(find)) throw new Error('mutation of ' + file + ': there is no ' + JSON.stringify(find));
        source = source.replace(find, () => replace);
      }
      return { ...loaded, source };
    }`;
}

/** Plants mistakes in all services that are loaded from here on. The product's files stay as they are. */
export function plant(mutations: readonly Mutation[]): void {
  if (mutations.length === 0) return;
  register(`data:text/javascript,${encodeURIComponent(loader(mutations))}`);
}
