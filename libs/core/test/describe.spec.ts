import { describeFrame, FRAME_LAYOUT, fromHex } from '@sealwire/core';
import fc from 'fast-check';
import { expect, it } from 'vitest';

const names = (frame: Uint8Array) => describeFrame(frame)?.fields.map(({ name }) => name);

it('names the fields of a call', () => {
  const frame = fromHex(`11010007${'ab'.repeat(16)}0000000200000102${'cd'.repeat(8)}${'00'.repeat(80)}`);
  expect(describeFrame(frame)).toEqual({
    type: 'call',
    fields: [
      { name: 'type', offset: 0, length: 1, value: 0x11 },
      { name: 'version', offset: 1, length: 1, value: 1 },
      { name: 'flags', offset: 2, length: 1, value: 0 },
      { name: 'epoch', offset: 3, length: 1, value: 7 },
      { name: 'session id', offset: 4, length: 16, text: 'ab'.repeat(16) },
      { name: 'lane', offset: 20, length: 4, value: 2 },
      { name: 'counter', offset: 24, length: 4, value: 258 },
      { name: 'salt', offset: 28, length: 8, text: 'cd'.repeat(8) },
      { name: 'sealed', offset: 36, length: 64 },
      { name: 'tag', offset: 100, length: 16 },
    ],
  });
});

it('tells the chunks of a live result apart, and that it breaks off', () => {
  const head = `12010300${'cd'.repeat(8)}`;
  const chunk = `000050${'00'.repeat(80)}`;
  const last = `800050${'00'.repeat(80)}`;
  const fields = ['type', 'version', 'flags', 'epoch', 'salt', 'chunk head', 'chunk', 'tag', 'chunk head'];
  expect(names(fromHex(head + chunk + last))).toEqual([...fields, 'last chunk', 'tag']);
  expect(names(fromHex(head + chunk + last.slice(0, -2)))).toEqual([...fields, 'cut']);
});

it('tells the lengths around what is sealed', () => {
  const { header, tag, chunkHead, lastChunk, prefix, padded, sealed } = FRAME_LAYOUT;
  for (const [type, byte] of [
    ['start', 1],
    ['startAnswer', 2],
    ['finish', 3],
    ['finishAnswer', 4],
    ['call', 0x11],
    ['result', 0x12],
  ] as const) {
    const fields = describeFrame(Uint8Array.of(byte, ...new Uint8Array(3_000)))?.fields ?? [];
    expect(fields.find(({ name }) => name === 'sealed')?.offset, type).toBe(header(type));
  }
  expect([header('call'), header('result'), tag, chunkHead, lastChunk, prefix]).toEqual([36, 12, 16, 3, 0x800000, 4]);
  expect([0, 60, 61, 1_000].map(padded)).toEqual([64, 64, 72, 1_024]);
  expect(sealed.finishAnswer).toEqual({ S2: 32, B: 16, terms: 20 });
});

it('covers all bytes of whatever it is given, and of nothing but frames', () => {
  fc.assert(
    fc.property(fc.constantFrom(1, 2, 3, 4, 0x11, 0x12), fc.uint8Array({ maxLength: 3_000 }), (type, rest) => {
      const frame = Uint8Array.of(type, ...rest);
      let at = 0;
      for (const { offset, length } of describeFrame(frame)?.fields ?? []) {
        expect(offset).toBe(at);
        at += length;
      }
      expect(at).toBe(frame.length);
    }),
  );
  expect(describeFrame(fromHex('7b7d'))).toBeUndefined();
  expect(describeFrame(new Uint8Array(0))).toBeUndefined();
});
