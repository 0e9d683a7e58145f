// SPDX-License-Identifier: Apache-2.0
// Reads as much of libvirt's interface file (remote_protocol.x) as our table needs, into the layouts of our codecs.
import type { Layout } from '../codec.js';

interface Declaration {
  readonly type: string;
  readonly name: string;
  readonly form: 'plain' | 'pointer' | 'variable' | 'fixed';
  readonly size: number;
}

const SIMPLE: Readonly<Record<string, Layout>> = {
  'int': { kind: 'int' },
  'unsigned int': { kind: 'uint' },
  'unsigned': { kind: 'uint' },
  'unsigned char': { kind: 'uint' },
  'unsigned short': { kind: 'uint' },
  'hyper': { kind: 'hyper' },
  'unsigned hyper': { kind: 'uhyper' },
  'double': { kind: 'double' },
  'remote_typed_param_value': { kind: 'typedValue' },
};

const DECLARATION = /^((?:unsigned\s+)?\w+)\s*(\*?)\s*(\w+)\s*(?:([<[])\s*(\w*)\s*[>\]])?$/;

/** An interface file, asked for layouts by the names of its structs. */
export class ProtocolFile {
  readonly #constants = new Map<string, number>([['VIR_UUID_BUFLEN', 16]]);
  readonly #typedefs = new Map<string, Declaration>();
  readonly #structs = new Map<string, Declaration[]>();
  readonly #enums = new Set<string>();
  readonly #procedures = new Map<string, number>();

  constructor(source: string) {
    const text = source.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^%.*$/gm, '');
    for (const [, name = '', value = ''] of text.matchAll(/^const\s+(\w+)\s*=\s*(\w+)\s*;/gm)) {
      this.#constants.set(name, Number(value));
    }
    for (const [, name = '', body = ''] of text.matchAll(/^enum\s+(\w+)\s*\{([^}]*)\}/gm)) {
      this.#enums.add(name);
      for (const [, entry = '', number = ''] of body.matchAll(/REMOTE_PROC_(\w+)\s*=\s*(\d+)/g)) {
        this.#procedures.set(normalName(entry), Number(number));
      }
    }
    for (const [, line = ''] of text.matchAll(/^typedef\s+([^;]+);/gm)) {
      const declaration = this.#declaration(line);
      this.#typedefs.set(declaration.name, declaration);
    }
    for (const [, name = '', body = ''] of text.matchAll(/^struct\s+(\w+)\s*\{([^}]*)\}/gm)) {
      const lines = body.split(';').map((line) => line.trim()).filter((line) => line !== '');
      this.#structs.set(normalName(name), lines.map((line) => this.#declaration(line)));
    }
  }

  /** The number of a procedure by any spelling of its name. */
  procedureNumber(name: string): number | undefined {
    return this.#procedures.get(normalName(name));
  }

  /** The layout of a struct by any spelling of its name; a struct that does not exist carries nothing. */
  layoutOf(name: string): Layout {
    const fields = this.#structs.get(normalName(name));
    if (fields === undefined) return { kind: 'void' };
    return { kind: 'struct', fields: fields.map((field) => [field.name, this.#layout(field)]) };
  }

  #declaration(line: string): Declaration {
    const [, type, star, name, bracket, size] = DECLARATION.exec(line.trim()) ?? [];
    if (type === undefined || name === undefined) throw new Error(`cannot read the declaration "${line}"`);
    const bound = size === undefined ? 0 : this.#constants.get(size) ?? Number(size);
    const form = star === '*' ? 'pointer' : bracket === '<' ? 'variable' : bracket === '[' ? 'fixed' : 'plain';
    return { type: type.replace(/\s+/g, ' '), name, form, size: bound };
  }

  #layout({ type, form, size }: Declaration): Layout {
    if (type === 'string') return { kind: 'string', size };
    if (type === 'opaque') return form === 'fixed' ? { kind: 'fixed', size } : { kind: 'opaque', size };
    if (type === 'char') return { kind: 'chars', size };
    const of = this.#named(type);
    if (form === 'pointer') return { kind: 'optional', of };
    if (form === 'variable') return { kind: 'array', of, size };
    return of;
  }

  #named(type: string): Layout {
    const simple = SIMPLE[type];
    if (simple !== undefined) return simple;
    if (this.#enums.has(type)) return { kind: 'int' };
    const typedef = this.#typedefs.get(type);
    return typedef === undefined ? this.layoutOf(type) : this.#layout(typedef);
  }
}

/** Spellings do not count: `need_results`, `needResults`, `NEED_RESULTS` are one name. */
export const normalName = (name: string): string => name.replaceAll('_', '').toLowerCase();
