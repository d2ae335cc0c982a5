import {
  formatKeyText,
  generateKeyText,
  type KeyKind,
  parseKeyEncryptionKey,
  parseKeyText,
  parseSecureKey,
  parseServerPrivateKey,
  parseServerPublicKey,
  SealwireError,
  serverKeyId,
} from '@sealwire/core';
import { nodePrimitives as primitives } from '@sealwire/core/node';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { codeOf } from './session.js';

const LENGTHS: Record<KeyKind, number> = { swk1: 40, swp1: 32, sws1: 32, swe1: 36 };
const NAMES: Record<KeyKind, string> = {
  swk1: 'This is a SecureKey. ',
  swp1: 'This is a server public key. ',
  sws1: 'This is a server private key. ',
  swe1: 'This is a key-encryption key. ',
};
const KINDS = Object.keys(LENGTHS) as KeyKind[];
const kind = fc.constantFrom(...KINDS);

describe('a key text', () => {
  it('comes back as the bytes it was made of', () => {
    fc.assert(
      fc.property(
        kind.chain((k) => fc.tuple(fc.constant(k), fc.uint8Array({ minLength: LENGTHS[k], maxLength: LENGTHS[k] }))),
        ([k, bytes]) => {
          const text = formatKeyText(k, bytes);
          expect(text).toMatch(new RegExp(`^${k}\\.[A-Za-z0-9_-]+\\.[0-9a-f]{8}$`));
          expect(parseKeyText(k, text)).toEqual(bytes);
          expect(parseKeyText(k, `  ${text}\n`)).toEqual(bytes);
        },
      ),
    );
  });

  it('has the checksum of zlib over kind and bytes', () => {
    expect(formatKeyText('swp1', new Uint8Array(32))).toBe('swp1.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.8d00847a');
  });

  it('is refused with any one character changed', () => {
    const text = generateKeyText('swk1', primitives);
    for (let at = 0; at < text.length; at++) {
      for (const other of 'AbZ0_-. =+/é') {
        if (text[at] === other) continue;
        const damaged = text.slice(0, at) + other + text.slice(at + 1);
        expect(
          codeOf(() => parseSecureKey(damaged)),
          damaged,
        ).toBe('bad_key');
      }
      expect(codeOf(() => parseSecureKey(text.slice(0, at)))).toBe('bad_key');
    }
    expect(codeOf(() => parseSecureKey(`${text}.`))).toBe('bad_key');
    expect(codeOf(() => parseSecureKey(text.toUpperCase()))).toBe('bad_key');
  });

  it('of another kind is refused, and the sentence names it', () => {
    for (const is of KINDS) {
      for (const wanted of KINDS) {
        const text = generateKeyText(is, primitives);
        expect(codeOf(() => parseKeyText(wanted, text))).toBe(is === wanted ? 'nothing was thrown' : 'bad_key');
        if (is !== wanted) expect(() => parseKeyText(wanted, text)).toThrow(`has the form ${wanted}.`);
        if (is !== wanted) expect(() => parseKeyText(wanted, text)).toThrow(NAMES[is]);
      }
    }
  });

  it('of another length is refused, with a true checksum too', () => {
    for (const k of KINDS) {
      for (const length of [1, 16, LENGTHS[k] - 1, LENGTHS[k] + 1, 64]) {
        expect(codeOf(() => parseKeyText(k, formatKeyText(k, new Uint8Array(length))))).toBe('bad_key');
      }
    }
  });

  it('is no passphrase, hexadecimal or base64 text, and the refusal never repeats it', () => {
    const words = [
      ...['', 'correct horse battery staple', 'swk1', 'swk1.', 'swk1..', 'swk1.passphrase.00000000', 'swk1.a.b.c'],
      ...['0'.repeat(64), Buffer.from(primitives.random(32)).toString('base64')],
    ];
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 80 }), (text) => {
        try {
          parseSecureKey(text);
        } catch (error) {
          expect(error).toMatchObject({ code: 'bad_key' });
          if (text.length > 40) expect(String(error)).not.toContain(text);
          return;
        }
        throw new Error('a passphrase was taken');
      }),
      { examples: words.map((word): [string] => [word]) },
    );
    expect(() => parseSecureKey('hunter2-hunter2')).toThrow(SealwireError);
    expect(() => parseSecureKey('hunter2-hunter2')).not.toThrow(/hunter2/);
    expect(codeOf(() => parseSecureKey(undefined as unknown as string))).toBe('bad_key');
  });

  it('falls into its parts', () => {
    const bytes = Uint8Array.from({ length: 40 }, (_, i) => i);
    expect(parseSecureKey(formatKeyText('swk1', bytes))).toEqual({ keyId: bytes.slice(0, 8), secret: bytes.slice(8) });
    const kek = formatKeyText('swe1', bytes.slice(0, 36));
    expect(parseKeyEncryptionKey(kek)).toEqual({ id: bytes.slice(0, 4), secret: bytes.slice(4, 36) });
    const privateText = generateKeyText('sws1', primitives);
    const pair = parseServerPrivateKey(privateText, primitives);
    expect(parseServerPublicKey(formatKeyText('swp1', pair.publicKey))).toEqual(pair.publicKey);
    expect(serverKeyId(pair.publicKey, primitives)).toEqual(primitives.sha256(pair.publicKey).slice(0, 4));
  });

  it('is random each time', () => {
    expect(generateKeyText('swk1', primitives)).not.toBe(generateKeyText('swk1', primitives));
  });
});
