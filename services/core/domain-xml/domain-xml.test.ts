// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { LockstepError } from '../errors/catalogue.js';
import { MAX_DOMAIN_XML_BYTES } from './document.js';
import { METADATA_NAMESPACE, metadataFragment, withPlacementEpoch, withUuid } from './epoch.js';
import { parseSize, unitBytes } from './memory-size.js';
import { parseDomainXml } from './parse.js';

const UUID = '6d1a2c8e-45b7-4f0e-9a51-3f2f0c9a7b10';
const domain = (inner: string): string => `<domain type='kvm'>${inner}</domain>`;
const MINIMAL = '<name>web</name><memory>1024</memory>';

function refusal(text: string): LockstepError {
  try {
    parseDomainXml(text);
  } catch (error) {
    if (error instanceof LockstepError) return error;
    throw error;
  }
  throw new Error('it was accepted');
}

describe('parseDomainXml', () => {
  it('reads what Lockstep needs and lets everything else be', () => {
    const xml = `<?xml version="1.0" encoding="utf-8"?>\r\n<!-- a VM -->
<domain type='kvm' id="3" xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>web &amp; db</name> <uuid>${UUID.toUpperCase()}</uuid>
  <memory unit='GiB'>2</memory><currentMemory unit='GiB'>1</currentMemory><vcpu current='1'>4</vcpu>
  <metadata><l:vm xmlns:l="${METADATA_NAMESPACE}"><l:placement epoch="7"/></l:vm></metadata>
  <qemu:commandline><qemu:arg value='-foo > bar'/></qemu:commandline>
</domain>`;
    expect(parseDomainXml(xml)).toEqual({
      name: 'web & db', uuid: UUID, memoryBytes: 2n ** 31n, hugepages: [], vcpus: 4, placementEpoch: 7n,
    });
  });

  it('has defaults where libvirt has them', () => {
    expect(parseDomainXml(domain(MINIMAL))).toEqual({
      name: 'web', uuid: undefined, memoryBytes: 1024n * 1024n, hugepages: [], vcpus: 1, placementEpoch: undefined,
    });
  });

  it('counts what the guest can come to use: maxMemory, else NUMA cells, else memory', () => {
    const numa = "<cpu><numa><cell id='0' memory='3' unit='GiB'/><cell id='1' memory='1048576'/></numa></cpu>";
    const memory = (inner: string): bigint => parseDomainXml(domain(`<name>a</name>${inner}`)).memoryBytes;
    expect(memory("<maxMemory slots='4' unit='GiB'>8</maxMemory><memory>1024</memory>")).toBe(2n ** 33n);
    expect(memory(`<memory>1024</memory>${numa}`)).toBe(2n ** 32n);
    expect(memory(numa)).toBe(2n ** 32n);
  });

  const GIB = 2n ** 30n;
  const MIB2 = 2n ** 21n;
  const cells = "<cpu><numa><cell id='0' memory='1' unit='GiB'/><cell id='1' memory='2' unit='GiB'/></numa></cpu>";
  it.each([
    ['none', '<memory unit="GiB">4</memory>', []],
    ['other backing', '<memory unit="GiB">4</memory><memoryBacking><locked/></memoryBacking>', []],
    ['the default size', '<memory unit="GiB">4</memory><memoryBacking><hugepages/></memoryBacking>', [[0n, 4n * GIB]]],
    ['a size in KiB', '<memory unit="GiB">4</memory><memoryBacking><hugepages><page size="2048"/></hugepages></memoryBacking>',
      [[MIB2, 4n * GIB]]],
    ['a size with its unit, in whole pages',
      '<memory unit="MiB">1500</memory><memoryBacking><hugepages><page size="1" unit="G"/></hugepages></memoryBacking>',
      [[GIB, 2n * GIB]]],
    ['what may be plugged in', `<maxMemory slots="4" unit="GiB">8</maxMemory>${cells}<memoryBacking><hugepages/></memoryBacking>`,
      [[0n, 8n * GIB]]],
    ['one cell of two', `${cells}<memoryBacking><hugepages><page size="2048" nodeset="1"/></hugepages></memoryBacking>`,
      [[MIB2, 2n * GIB]]],
    ['a size for each cell',
      `${cells}<memoryBacking><hugepages><page size="1" unit="GiB"/><page size="2048" nodeset="0-3,^1"/></hugepages></memoryBacking>`,
      [[MIB2, GIB], [GIB, 2n * GIB]]],
    ['ordinary pages by their size',
      '<memory unit="GiB">4</memory><memoryBacking><hugepages><page size="4" unit="KiB"/></hugepages></memoryBacking>', []],
  ] as const)('reads huge pages: %s', (_what, inner, expected) => {
    const { hugepages } = parseDomainXml(domain(`<name>a</name>${inner}`));
    expect(hugepages.map(({ pageBytes, bytes }) => [pageBytes, bytes])).toEqual(expected);
  });

  const unit = (attribute: string): string => domain(`<name>a</name><memory unit='${attribute}'>1</memory>`);
  it.each([
    ['', 1024n], ['b', 1n], ['byte', 1n], ['bytes', 1n],
    ['KB', 10n ** 3n], ['k', 2n ** 10n], ['K', 2n ** 10n], ['KiB', 2n ** 10n], ['kib', 2n ** 10n],
    ['MB', 10n ** 6n], ['M', 2n ** 20n], ['MiB', 2n ** 20n],
    ['GB', 10n ** 9n], ['G', 2n ** 30n], ['GiB', 2n ** 30n],
    ['TB', 10n ** 12n], ['T', 2n ** 40n], ['TiB', 2n ** 40n],
    ['PB', 10n ** 15n], ['P', 2n ** 50n], ['PiB', 2n ** 50n],
    ['EB', 10n ** 18n], ['E', 2n ** 60n], ['EiB', 2n ** 60n],
  ])('knows the unit "%s"', (name, bytes) => {
    expect(parseDomainXml(unit(name)).memoryBytes).toBe(bytes);
  });

  const depth = (levels: number): string => domain(MINIMAL + '<a>'.repeat(levels) + '</a>'.repeat(levels));
  it.each<[string, string, string, RegExp]>([
    ['nothing', '', '/', /is/],
    ['not XML', 'name: web', '/', /missing root element/],
    ['text after the end', `${domain(MINIMAL)}more`, '/', /./],
    ['two roots', domain(MINIMAL) + domain(MINIMAL), '/', /./],
    ['an unclosed element', `<domain>${MINIMAL}`, '/', /never closed/],
    ['a wrong end', `<domain>${MINIMAL}</domains>`, '/', /closes nothing at line 1, column 46/],
    ['an attribute without quotes', domain(`${MINIMAL}<a b=c/>`), '/', /not well-formed/],
    ['an attribute twice', domain(`${MINIMAL}<a b="1" b="2"/>`), '/', /./],
    ['an unknown entity', domain(`${MINIMAL}<a>&lol;</a>`), '/', /without an entity/],
    ['a bare ampersand', domain(`${MINIMAL}<a>a & b</a>`), '/', /without an entity/],
    ['an unbound prefix', domain(`${MINIMAL}<q:a/>`), '/', /./],
    ['another root', '<network><name>a</name></network>', '/', /<network>/],
    ['a root in a namespace', `<domain xmlns="urn:a">${MINIMAL}</domain>`, '/domain', /urn:a/],
    ['a document type', `<!DOCTYPE domain>${domain(MINIMAL)}`, '/', /document type/],
    ['entities that grow', `<!DOCTYPE d [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]>${domain('<name>&b;</name>')}`, '/',
      /document type/],
    ['a file read by an entity', `<!DOCTYPE d [<!ENTITY a SYSTEM "file:///etc/passwd">]>${domain('<name>&a;</name>')}`,
      '/', /document type/],
    ['a NUL', domain('<name>a\0b</name><memory>1</memory>'), '/', /U\+0000/],
    ['a NUL by its number', domain('<name>a&#0;b</name><memory>1</memory>'), '/', /&#0;/],
    ['a control character by its number', domain('<name>a&#x1f;b</name><memory>1</memory>'), '/', /&#x1f;/],
    ['half a surrogate', domain('<name>a\ud800b</name><memory>1</memory>'), '/', /U\+d800/],
    ['another encoding', `<?xml version="1.0" encoding="UTF-7"?>${domain(MINIMAL)}`, '/', /UTF-7/],
    ['deep nesting', depth(300), '/', /deeper than 256/],
    ['very deep nesting', depth(30_000), '/', /deeper than 256/],
    ['very many attributes', domain(`${MINIMAL}<a ${'b="" '.repeat(30_000)}/>`), '/', /more than 64 attributes/],
    ['no name', domain('<memory>1</memory>'), '/domain/name', /got none/],
    ['an empty name', domain('<name> </name><memory>1</memory>'), '/domain/name', /got " "/],
    ['a path as name', domain('<name>../../etc</name><memory>1</memory>'), '/domain/name', /etc/],
    ['two names', domain(`<name>other</name>${MINIMAL}`), '/domain/name', /2 elements/],
    ['a name of 300 characters', domain(`<name>${'a'.repeat(300)}</name><memory>1</memory>`), '/domain/name', /…/],
    ['a bad uuid', domain(`${MINIMAL}<uuid>42</uuid>`), '/domain/uuid', /"42"/],
    ['an empty uuid', domain(`${MINIMAL}<uuid/>`), '/domain/uuid', /""/],
    ['a uuid of zeros', domain(`${MINIMAL}<uuid>${UUID.replace(/[^-]/g, '0')}</uuid>`), '/domain/uuid', /0000/],
    ['no memory', domain('<name>a</name>'), '/domain/memory', /got none/],
    ['zero memory', domain('<name>a</name><memory>0</memory>'), '/domain/memory', /0 bytes/],
    ['negative memory', domain('<name>a</name><memory>-1</memory>'), '/domain/memory', /"-1"/],
    ['half a number', domain('<name>a</name><memory>1.5</memory>'), '/domain/memory', /"1.5"/],
    ['memory beyond 64 bits', domain('<name>a</name><memory unit="EiB">8</memory>'), '/domain/memory', /8 EiB/],
    ['an unknown unit', unit('GiBi'), '/domain/memory/@unit', /"GiBi"/],
    ['huge pages without a size', domain(`${MINIMAL}<memoryBacking><hugepages><page/></hugepages></memoryBacking>`),
      '/domain/memoryBacking/hugepages/page/@size', /""/],
    ['two memories', domain(`${MINIMAL}<memory>1</memory>`), '/domain/memory', /2 elements/],
    ['zero vcpus', domain(`${MINIMAL}<vcpu>0</vcpu>`), '/domain/vcpu', /"0"/],
    ['too many vcpus', domain(`${MINIMAL}<vcpu>70000</vcpu>`), '/domain/vcpu', /"70000"/],
    ['an epoch that is no number', withPlacementEpoch(domain(MINIMAL), 7n).replace('"7"', '"-7"'),
      '/domain/metadata/lockstep:vm/lockstep:placement/@epoch', /"-7"/],
  ])('refuses %s', (_what, text, path, message) => {
    const error = refusal(text);
    expect(error.reason).toBe('INVALID_DOMAIN_XML');
    expect(error.metadata['field']).toBe(`spec.domain_xml:${path}`);
    expect(error.metadata['want']).toBeTruthy();
    expect(error.message).toMatch(message);
  });

  it('refuses what is too large, by bytes and not by characters', () => {
    const filled = (character: string, count: number): string =>
      domain(`${MINIMAL}<description>${character.repeat(count)}</description>`);
    expect(refusal(filled('a', MAX_DOMAIN_XML_BYTES)).reason).toBe('DOMAIN_XML_TOO_LARGE');
    const error = refusal(filled('ä', MAX_DOMAIN_XML_BYTES / 2));
    expect(error.reason).toBe('DOMAIN_XML_TOO_LARGE');
    expect(error.metadata).toMatchObject({ field: 'spec.domain_xml', want: 'at most 262144 bytes' });
    expect(parseDomainXml(filled('a', MAX_DOMAIN_XML_BYTES - 1000)).name).toBe('web');
  });
});

describe('withPlacementEpoch', () => {
  const written = (epoch: string): string =>
    `<lockstep:vm xmlns:lockstep="${METADATA_NAMESPACE}"><lockstep:placement epoch="${epoch}"/></lockstep:vm>`;

  it.each([
    ['without metadata', `<domain  type='kvm'\n>${MINIMAL}</domain>`,
      `<domain  type='kvm'\n><metadata>${written('7')}</metadata>${MINIMAL}</domain>`],
    ['with metadata of others', domain(`${MINIMAL}<metadata>\n <a:b xmlns:a='urn:a'/></metadata>`),
      domain(`${MINIMAL}<metadata>${written('7')}\n <a:b xmlns:a='urn:a'/></metadata>`)],
    ['with empty metadata', domain(`${MINIMAL}<metadata />`), domain(`${MINIMAL}<metadata >${written('7')}</metadata>`)],
    ['with an older epoch', domain(`${MINIMAL}<metadata>${written('6')}</metadata>`),
      domain(`${MINIMAL}<metadata>${written('7')}</metadata>`)],
    ['with another prefix', domain(`${MINIMAL}<metadata><x:vm xmlns:x='${METADATA_NAMESPACE}'/></metadata>`),
      domain(`${MINIMAL}<metadata><x:vm xmlns:x='${METADATA_NAMESPACE}'><x:placement epoch="7"/></x:vm></metadata>`)],
    ['with the default namespace', domain(`${MINIMAL}<metadata><vm xmlns='${METADATA_NAMESPACE}'> </vm></metadata>`),
      domain(`${MINIMAL}<metadata><vm xmlns='${METADATA_NAMESPACE}'><placement epoch="7"/> </vm></metadata>`)],
  ])('writes it %s and keeps the rest to the byte', (_what, before, after) => {
    expect(withPlacementEpoch(before, 7n)).toBe(after);
    expect(parseDomainXml(after).placementEpoch).toBe(7n);
    expect(withPlacementEpoch(after, 7n)).toBe(after);
  });

  it('keeps comments, CDATA, entities, line ends, quotes and unknown namespaces', () => {
    const rest = `\r\n<!-- <metadata/> --><name>a&#x41;&lt;</name><memory unit = "KiB" >5</memory>
      <q:commandline xmlns:q='urn:q'><q:arg value='a>b "c"'/></q:commandline><d><![CDATA[</domain><metadata>]]></d>\t`;
    const stamped = withPlacementEpoch(domain(rest), 18_446_744_073_709_551_615n);
    expect(stamped.replace(/<metadata><lockstep:vm.*?<\/metadata>/, '')).toBe(domain(rest));
    expect(parseDomainXml(stamped).placementEpoch).toBe(18_446_744_073_709_551_615n);
  });
});

describe('metadataFragment', () => {
  it('holds the new epoch and what else is ours, without prefixes', () => {
    const xml = domain(`${MINIMAL}<metadata><l:vm xmlns:l="${METADATA_NAMESPACE}" xmlns:o="urn:o"><o:x/>
      <l:simulated a="&quot;&lt;"/><l:placement epoch="3"/></l:vm></metadata>`);
    expect(metadataFragment(xml, 4n)).toBe('<vm><simulated a="&#34;&#60;"/><placement epoch="4"/></vm>');
  });
});

describe('withUuid', () => {
  it('replaces or adds it', () => {
    const other = UUID.replace('6', '7');
    expect(withUuid(domain(`${MINIMAL}<uuid> ${UUID}</uuid>`), other)).toBe(domain(`${MINIMAL}<uuid>${other}</uuid>`));
    expect(withUuid(domain(MINIMAL), other)).toBe(domain(`<uuid>${other}</uuid>${MINIMAL}`));
  });
});

describe('sizes', () => {
  it.each([['64MiB', 2n ** 26n], ['64 M', 2n ** 26n], ['4096', 4096n], ['10MB', 10n ** 7n], ['', undefined],
    ['MiB', undefined], ['1 QB', undefined], ['-1M', undefined]])('%s', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  });

  it('knows no other units', () => {
    for (const unit of ['', ' ', 'KiBs', 'Z', 'KKB', 'iB']) expect(unitBytes(unit)).toBeUndefined();
  });
});
