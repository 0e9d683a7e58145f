// SPDX-License-Identifier: Apache-2.0
// Generated code asks here: ts-proto writes a Duration as an object, and the JSON of proto3 knows it as "1.5s".

interface Span {
  seconds: bigint;
  nanos: number;
}

const TEXT = /^(-?)(\d{1,12})(?:\.(\d{1,9}))?s$/;

/** As proto3's JSON has it: seconds with 0, 3, 6 or 9 digits behind the point, and an `s`. */
export function durationToJson({ seconds, nanos }: Span): string {
  const sign = seconds < 0n || nanos < 0 ? '-' : '';
  const whole = seconds < 0n ? -seconds : seconds;
  const digits = Math.abs(Math.round(nanos)).toString().padStart(9, '0');
  const fraction = digits.replace(/(?:000){1,3}$/, '');
  return `${sign}${whole.toString()}${fraction === '' ? '' : `.${fraction}`}s`;
}

/** Throws a TypeError that says what would be right. */
export function durationFromJson(json: unknown): Span {
  const match = typeof json === 'string' ? TEXT.exec(json) : null;
  if (match === null) throw new TypeError(`got ${JSON.stringify(json)}, want a duration such as "1.5s"`);
  const [, sign = '', whole = '0', fraction = ''] = match;
  const [seconds, nanos] = [BigInt(whole), Number(fraction.padEnd(9, '0'))];
  return sign === '' ? { seconds, nanos } : { seconds: -seconds, nanos: 0 - nanos };
}
