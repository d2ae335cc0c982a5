import { describe, expect, it } from 'vitest';
import { KeyEncryption } from '../src/keys/index.js';
import { kek, nextKek, primitives } from './support.js';

const secret = new Uint8Array(32).fill(1);
const keys = new KeyEncryption(primitives, kek);

describe('the key encryption', () => {
  it('opens what it wrapped, where it was wrapped', () => {
    const place = ['sealwire_session', Uint8Array.of(1, 2), 7, undefined];
    expect(keys.unwrap(place, keys.wrap(place, secret))).toEqual(secret);
    expect(keys.wrap(place, secret)).not.toEqual(keys.wrap(place, secret));
  });

  it.each([
    [
      ['a', 'b'],
      ['ab', ''],
    ],
    [
      ['a', undefined],
      ['a', ''],
    ],
    [
      ['a', 1],
      ['a', 2],
    ],
    [
      ['a', Uint8Array.of(1)],
      ['a', Uint8Array.of(2)],
    ],
    [['a'], ['a', undefined]],
  ])('tells the place %o from %o', (one, other) => {
    expect(() => keys.unwrap(other, keys.wrap(one, secret))).toThrow(expect.objectContaining({ code: 'open_failed' }));
  });

  it('says of keys alone that a backup has them: a session put back would be one that was ended', () => {
    const backup = 'Put the row back from a backup.';
    const altered = keys.wrap(['other'], secret);
    expect(() => keys.unwrap(['sealwire_key', 'server'], altered)).toThrow(backup);
    for (const table of ['session', 'outcome', 'cookie_key']) {
      expect(() => keys.unwrap([`sealwire_${table}`], altered)).toThrow(
        /^(?!.*backup).*was altered, or moved there\.$/,
      );
    }
  });

  it('refuses every altered byte', () => {
    const wrapped = keys.wrap(['a'], secret);
    for (let i = 4; i < wrapped.length; i++) {
      const altered = wrapped.slice();
      altered[i]! ^= 1;
      expect(() => keys.unwrap(['a'], altered)).toThrow();
    }
    for (let length = 0; length < wrapped.length; length++) {
      expect(() => keys.unwrap(['a'], wrapped.slice(0, length))).toThrow();
    }
  });

  it('wraps with the first key and opens with all', () => {
    const both = new KeyEncryption(primitives, ` ${nextKek},\n${kek} `);
    const old = keys.wrap(['a'], secret);
    expect(both.unwrap(['a'], old)).toEqual(secret);
    expect(() => keys.unwrap(['a'], both.wrap(['a'], secret))).toThrow(/does not hold the key-encryption key 08080808/);
  });

  it.each([
    [undefined, /SEALWIRE_KEK is missing/],
    ['', /SEALWIRE_KEK is empty/],
    [' , ', /SEALWIRE_KEK is empty/],
  ])('refuses to be without a key: %o', (text, sentence) => {
    expect(() => new KeyEncryption(primitives, text)).toThrow(sentence);
  });

  it('refuses a passphrase', () => {
    expect(() => new KeyEncryption(primitives, 'correct horse')).toThrow(expect.objectContaining({ code: 'bad_key' }));
  });
});
