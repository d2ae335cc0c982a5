import { concat, LIMITS } from '@sealwire/core';
import { encodeUnit, UNIT, type Unit, type UnitKind, UnitReader } from '@sealwire/core/live';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { codeOf } from '../session.js';
import { behindRun } from './support.js';

const LIMIT = 300_000;
const bytes = (length: number) => new Uint8Array(length).fill(3);
const payload = encodeUnit(UNIT.payload, 0, bytes(4));
const run = encodeUnit(UNIT.run, 0, bytes(16));
const pulse = encodeUnit(UNIT.pulse, 0, bytes(0));

describe('units', () => {
  it('are the same however the body is cut', () => {
    const kinds = [UNIT.data, UNIT.item, UNIT.error, UNIT.end, UNIT.pulse] as const;
    const unit = fc.tuple(
      fc.constantFrom<UnitKind>(...kinds),
      fc.nat(65_535),
      fc.oneof(fc.uint8Array({ minLength: 1, maxLength: 40 }), fc.integer({ min: 1, max: 65_536 }).map(bytes)),
    );
    fc.assert(
      fc.property(
        fc.array(unit, { maxLength: 12 }),
        fc.array(fc.oneof(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 70_000 })), { minLength: 1 }),
        (list, cuts) => {
          const sent: Unit[] = list.map(([kind, stream, content]) => ({
            kind,
            stream: kind === UNIT.pulse ? 0 : stream,
            bytes: kind === UNIT.end || kind === UNIT.pulse ? bytes(0) : content,
          }));
          const whole = concat(payload, ...sent.map((one) => encodeUnit(one.kind, one.stream, one.bytes)));
          const reader = new UnitReader('call', LIMIT);
          const got: Unit[] = [];
          for (let at = 0, i = 0; at < whole.length; i++) {
            const end = at + (cuts[i % cuts.length] as number);
            got.push(...reader.push(whole.subarray(at, end)));
            at = end;
          }
          expect(got.slice(1).map((one) => [one.kind, one.stream, one.bytes.length])).toEqual(
            sent.map((one) => [one.kind, one.stream, one.bytes.length]),
          );
          got.slice(1).forEach((one, i) => {
            expect(Buffer.compare(one.bytes, sent[i]!.bytes)).toBe(0);
          });
          expect(reader.clean).toBe(true);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('take memory as they arrive, not as they promise', () => {
    const reader = behindRun(2 ** 31, 1);
    const head = Uint8Array.of(UNIT.item, 0, 0, 0x7f, 0xff, 0xff, 0xff);
    const before = process.memoryUsage().arrayBuffers;
    reader.push(concat(head, bytes(10)));
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1_000_000);
    expect(reader.clean).toBe(false);
  });

  it('may be as long as the limit, data as a chunk', () => {
    const reader = behindRun(LIMIT, 1);
    expect(reader.push(encodeUnit(UNIT.item, 0, bytes(LIMIT)))[0]?.bytes.length).toBe(LIMIT);
    expect(reader.push(encodeUnit(UNIT.data, 0, bytes(LIMITS.dataUnit)))[0]?.bytes.length).toBe(LIMITS.dataUnit);
  });

  it('count the outcomes that have not come', () => {
    const reader = new UnitReader('result', LIMIT, 2);
    expect(reader.missing).toBe(2);
    reader.push(concat(run, encodeUnit(UNIT.progress, 1, bytes(1)), encodeUnit(UNIT.outcome, 1, bytes(1)), pulse));
    expect(reader.missing).toBe(1);
  });
});

describe('refused are', () => {
  const outcome = (call: number) => encodeUnit(UNIT.outcome, call, bytes(2));
  const progress = (call: number) => encodeUnit(UNIT.progress, call, bytes(2));
  const status = encodeUnit(UNIT.status, 0, bytes(2));
  const of = (kind: number, stream: number, length: number) => encodeUnit(kind as UnitKind, stream, bytes(length));
  it.each<[string, 'call' | 'result', ...Uint8Array[]]>([
    ['a call without payload', 'call', of(UNIT.item, 0, 1)],
    ['a call of a pulse before its payload', 'call', pulse, payload],
    ['a payload twice', 'call', payload, payload],
    ['a payload of a stream', 'call', of(UNIT.payload, 1, 4)],
    ['an empty payload', 'call', of(UNIT.payload, 0, 0)],
    ['an outcome in a call', 'call', payload, outcome(0)],
    ['progress in a call', 'call', payload, progress(0)],
    ['a status in a call', 'call', payload, status],
    ['a run in a call', 'call', payload, run],
    ['a payload in a result', 'result', run, payload],
    ['an unknown kind', 'result', run, of(10, 0, 1)],
    ['a result that begins otherwise', 'result', pulse],
    ['a run twice', 'result', run, run],
    ['a run of 15 bytes', 'result', of(UNIT.run, 0, 15)],
    ['a run of a stream', 'result', of(UNIT.run, 1, 16)],
    ['a pulse with content', 'result', run, of(UNIT.pulse, 0, 1)],
    ['a pulse of a stream', 'result', run, of(UNIT.pulse, 1, 0)],
    ['an end with content', 'result', run, of(UNIT.end, 0, 1)],
    ['data of nothing', 'result', run, of(UNIT.data, 0, 0)],
    ['data of more than a chunk', 'result', run, of(UNIT.data, 0, LIMITS.dataUnit + 1)],
    ['an item of nothing', 'result', run, of(UNIT.item, 0, 0)],
    ['a payload above the limit', 'call', of(UNIT.payload, 0, LIMIT + 1)],
    ['an item of a call above the limit', 'call', payload, of(UNIT.item, 0, LIMIT + 1)],
    ['an outcome twice', 'result', run, outcome(1), outcome(1)],
    ['an outcome of no call', 'result', run, outcome(2)],
    ['progress of no call', 'result', run, progress(2)],
    ['progress behind its outcome', 'result', run, outcome(0), progress(0)],
    ['anything behind a status', 'result', run, status, pulse],
    ['a status of a call', 'result', run, of(UNIT.status, 1, 2)],
  ])('%s', (_, direction, ...units) => {
    const reader = new UnitReader(direction, LIMIT, 2);
    // the fault is in the last one, and its head is enough to see it
    for (const unit of units.slice(0, -1)) {
      if (direction === 'call' && unit === pulse) return expect(codeOf(() => reader.push(unit))).toBe('bad_payload');
      reader.push(unit);
    }
    expect(codeOf(() => reader.push(units.at(-1)!.subarray(0, 7)))).toBe('bad_payload');
  });
});

it.each([UNIT.item, UNIT.outcome, UNIT.progress, UNIT.error])(
  'a result says that unit %i is above the limit',
  (kind) => {
    const head = encodeUnit(kind, 0, bytes(LIMIT + 1)).subarray(0, 7);
    expect(codeOf(() => behindRun(LIMIT, 2).push(head))).toBe('too_large');
  },
);
