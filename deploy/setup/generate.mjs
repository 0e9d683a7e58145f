// SPDX-License-Identifier: Apache-2.0
// Makes clients/sdk/src/gen from proto/, when proto/ or what makes it changed. Needs no network.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const target = join(root, 'clients/sdk/src/gen');
const stampFile = join(target, '.stamp');
const bin = join(root, 'node_modules/.bin');

/** Everything the output depends on: the protos, how buf is told to make it, the tools, this file. */
function inputs() {
  const protos = readdirSync(join(root, 'proto'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.name.endsWith('.binpb'))
    .map((entry) => join(entry.parentPath, entry.name));
  return [
    ...protos.sort(),
    join(root, 'buf.yaml'),
    join(root, 'node_modules/ts-proto/package.json'),
    join(root, 'node_modules/@bufbuild/buf/package.json'),
    fileURLToPath(import.meta.url),
  ];
}

function hashOf(files) {
  const hash = createHash('sha256');
  for (const file of files) hash.update(file.slice(root.length)).update('\0').update(readFileSync(file)).update('\0');
  return hash.digest('hex');
}

function stampOf(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

function buf(...args) {
  const { status, error } = spawnSync(join(bin, 'buf'), args, {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, PATH: [bin, process.env.PATH].join(delimiter) },
  });
  if (status !== 0) throw new Error(`buf ${args[0]} failed${error === undefined ? '' : `: ${error.message}`}`);
}

/** The descriptors of the whole API, as a module: reflection serves them, and no file has to be found at run time. */
function descriptorModule(work) {
  const file = join(work, 'descriptors.binpb');
  buf('build', '--as-file-descriptor-set', '-o', file);
  return [
    '// Made by `npm run generate`.',
    '/** A serialised google.protobuf.FileDescriptorSet of the whole API and what it imports. */',
    'export const descriptorSet: Uint8Array = Buffer.from(',
    `  '${readFileSync(file).toString('base64')}',`,
    "  'base64',",
    ');',
    '',
  ].join('\n');
}

/** ts-proto writes this one type as any other message; everybody else takes its JSON for a text such as "1.5s". */
function writeDurationsAsText(made) {
  const file = join(made, 'google/protobuf/duration.ts');
  const bodies = [
    [/(  fromJSON\(object: any\): Duration \{\n)[^]*?(\n  \},\n)/, '    return durationFromJson(object);'],
    [/(  toJSON\(message: Duration\): unknown \{\n)[^]*?(\n  \},\n)/, '    return durationToJson(message);'],
    // What they asked before.
    [/()\nfunction isSet[^]*?(\n\}\n)/, ''],
    [/(import \{ BinaryReader[^\n]*\n)()/, 'import { durationFromJson, durationToJson } from "../../../duration-json.js";\n'],
  ];
  let text = readFileSync(file, 'utf8');
  for (const [place, body] of bodies) {
    if (!place.test(text)) throw new Error(`${place.source} is not in what ts-proto made of google/protobuf/duration.proto`);
    text = text.replace(place, (_all, before, after) => (body === '' ? '' : `${before}${body}${after}`));
  }
  writeFileSync(file, text);
}

const wanted = hashOf(inputs());
if (stampOf(stampFile) !== wanted) {
  const work = mkdtempSync(join(root, 'clients/sdk/.generating-'));
  try {
    buf('generate', '--template', 'proto/buf.gen.yaml', '-o', work);
    const made = join(work, 'clients/sdk/src/gen');
    writeDurationsAsText(made);
    writeFileSync(join(made, 'descriptors.ts'), descriptorModule(work));
    writeFileSync(join(made, '.stamp'), wanted);
    mkdirSync(dirname(target), { recursive: true });
    rmSync(target, { recursive: true, force: true });
    renameSync(made, target);
  } catch (error) {
    console.error(`generate: ${error.message}`);
    process.exitCode = 1;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
