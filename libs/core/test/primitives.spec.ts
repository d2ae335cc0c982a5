import { fromHex, toHex } from '@sealwire/core';
import { noblePrimitives } from '@sealwire/core/noble';
import { nodePrimitives } from '@sealwire/core/node';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { utf8 } from './support/bytes.js';

const openFailed = expect.objectContaining({ code: 'open_failed' });
const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const text = fc.uint8Array({ maxLength: 500 });
const NONCE = new Uint8Array(12);
const NONE = new Uint8Array(0);

describe.each([
  ['node', nodePrimitives],
  ['portable', noblePrimitives],
])('%s primitives', (_, p) => {
  it('SHA-256 (FIPS 180)', () => {
    expect(toHex(p.sha256(utf8('abc')))).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
    expect(p.sha256(utf8('a'), NONE, utf8('bc'))).toEqual(p.sha256(utf8('abc')));
    expect(toHex(p.sha256())).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
  });

  it('HMAC-SHA256 (RFC 4231, cases 1, 2 and 6)', () => {
    expect(toHex(p.hmac(new Uint8Array(20).fill(0x0b), utf8('Hi There')))).toBe(
      'b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7',
    );
    expect(toHex(p.hmac(utf8('Jefe'), utf8('what do ya want '), utf8('for nothing?')))).toBe(
      '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843',
    );
    expect(
      toHex(p.hmac(new Uint8Array(131).fill(0xaa), utf8('Test Using Larger Than Block-Size Key - Hash Key First'))),
    ).toBe('60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54');
  });

  it('HKDF-SHA-256 (RFC 5869, cases 1 and 3), also of nothing', () => {
    const ikm = new Uint8Array(22).fill(0x0b);
    const okm = p.hkdf(fromHex('000102030405060708090a0b0c'), ikm, fromHex('f0f1f2f3f4f5f6f7f8f9'), 42);
    expect(toHex(okm)).toBe('3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865');
    expect(toHex(p.hkdf(NONE, ikm, NONE, 42))).toBe(
      '8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8',
    );
    const salt = new Uint8Array(32).fill(7);
    const prk = p.hmac(salt);
    expect(p.hkdf(salt, NONE, utf8('label'), 32)).toEqual(p.hmac(prk, utf8('label'), Uint8Array.of(1)));
  });

  it('X25519 (RFC 7748, sections 5.2 and 6.1)', () => {
    expect(
      toHex(
        p.x25519(
          fromHex('a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4'),
          fromHex('e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c'),
        ),
      ),
    ).toBe('c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552');
    const alice = p.x25519KeyPair(fromHex('77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a'));
    const bob = p.x25519KeyPair(fromHex('5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb'));
    expect(toHex(alice.publicKey)).toBe('8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a');
    expect(toHex(bob.publicKey)).toBe('de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f');
    const shared = '4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742';
    expect(toHex(p.x25519(alice.privateKey, bob.publicKey))).toBe(shared);
    expect(toHex(p.x25519(bob.privateKey, alice.publicKey))).toBe(shared);
  });

  it('X25519 refuses points of small order and other lengths', () => {
    const privateKey = new Uint8Array(32).fill(9);
    for (const point of [
      '00'.repeat(32),
      `01${'00'.repeat(31)}`,
      'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
      '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
      `ec${'ff'.repeat(30)}7f`,
      `ed${'ff'.repeat(30)}7f`,
      `ee${'ff'.repeat(30)}7f`,
    ]) {
      expect(() => p.x25519(privateKey, fromHex(point))).toThrow(openFailed);
      expect(() => p.x25519Encapsulate(fromHex(point), privateKey)).toThrow(openFailed);
    }
    const { publicKey } = p.x25519KeyPair(privateKey);
    expect(() => p.x25519(privateKey, publicKey.subarray(1))).toThrow(openFailed);
    expect(() => p.x25519(privateKey.subarray(1), publicKey)).toThrow(openFailed);
    expect(() => p.x25519KeyPair(new Uint8Array(33))).toThrow(openFailed);
    expect(() => p.x25519KeyPair(new Uint8Array(31))).toThrow(openFailed);
    expect(() => p.x25519Encapsulate(publicKey, new Uint8Array(31))).toThrow(openFailed);
    expect(() => p.x25519Encapsulate(publicKey.subarray(1), privateKey)).toThrow(openFailed);
  });

  // McGrew and Viega, "The Galois/Counter Mode of Operation", test cases 1, 4 and 16
  it.each([
    ['00'.repeat(16), '00'.repeat(12), '', '', '58e2fccefa7e3061367f1d57a4e7455a'],
    [
      'feffe9928665731c6d6a8f9467308308',
      'cafebabefacedbaddecaf888',
      'feedfacedeadbeeffeedfacedeadbeefabaddad2',
      'd9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39',
      '42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091' +
        '5bc94fbc3221a5db94fae95ae7121a47',
    ],
    [
      'feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308',
      'cafebabefacedbaddecaf888',
      'feedfacedeadbeeffeedfacedeadbeefabaddad2',
      'd9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39',
      '522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662' +
        '76fc6ece0f4e1768cddf8853bb2d551b',
    ],
  ])('AES-GCM under %s', (key, nonce, ad, plaintext, sealed) => {
    expect(toHex(p.seal(fromHex(key), fromHex(nonce), fromHex(ad), fromHex(plaintext)))).toBe(sealed);
    expect(toHex(p.open(fromHex(key), fromHex(nonce), fromHex(ad), fromHex(sealed)))).toBe(plaintext);
  });

  it('AES-GCM refuses every changed bit, a cut, and keys and nonces of other lengths', () => {
    const key = new Uint8Array(32).fill(1);
    const ad = utf8('header');
    const sealed = p.seal(key, NONCE, ad, utf8('hello'));
    for (let bit = 0; bit < sealed.length * 8; bit++) {
      const changed = sealed.slice();
      changed[bit >> 3]! ^= 1 << (bit & 7);
      expect(() => p.open(key, NONCE, ad, changed)).toThrow(openFailed);
    }
    for (let length = 0; length < sealed.length; length++) {
      expect(() => p.open(key, NONCE, ad, sealed.subarray(0, length))).toThrow(openFailed);
    }
    expect(() => p.open(key, NONCE, utf8('Header'), sealed)).toThrow(openFailed);
    expect(() => p.open(key, Uint8Array.of(1, ...NONCE.subarray(1)), ad, sealed)).toThrow(openFailed);
    expect(() => p.open(key.slice(0, 16), NONCE, ad, sealed)).toThrow(openFailed);
    for (const length of [0, 15, 24, 33]) {
      expect(() => p.seal(new Uint8Array(length), NONCE, ad, NONE)).toThrow(openFailed);
    }
    for (const length of [0, 8, 13, 16]) {
      expect(() => p.seal(key, new Uint8Array(length), ad, NONE)).toThrow(openFailed);
    }
  });

  it('ML-KEM-768: both sides agree, a changed ciphertext gives another secret', () => {
    const { encapsulationKey, decapsulationKey } = p.kemKeyPair(new Uint8Array(64).fill(3));
    const { ciphertext, sharedSecret } = p.kemEncapsulate(encapsulationKey, new Uint8Array(32).fill(4));
    expect([encapsulationKey.length, ciphertext.length, sharedSecret.length]).toEqual([1184, 1088, 32]);
    expect(p.kemDecapsulate(ciphertext, decapsulationKey)).toEqual(sharedSecret);
    ciphertext[100]! ^= 1;
    expect(p.kemDecapsulate(ciphertext, decapsulationKey)).not.toEqual(sharedSecret);
  });

  it('ML-KEM-768 refuses a coefficient that is not reduced, and other lengths', () => {
    const { encapsulationKey, decapsulationKey } = p.kemKeyPair(new Uint8Array(64).fill(3));
    const coins = new Uint8Array(32);
    const unreduced = encapsulationKey.slice();
    unreduced.set([0xff, 0xff], 0);
    expect(() => p.kemEncapsulate(unreduced, coins)).toThrow(openFailed);
    expect(() => p.kemEncapsulate(encapsulationKey.subarray(1), coins)).toThrow(openFailed);
    expect(() => p.kemEncapsulate(encapsulationKey, coins.subarray(1))).toThrow(openFailed);
    expect(() => p.kemKeyPair(new Uint8Array(63))).toThrow(openFailed);
    expect(() => p.kemDecapsulate(new Uint8Array(1087), decapsulationKey)).toThrow(openFailed);
    expect(() => p.kemDecapsulate(new Uint8Array(1088), decapsulationKey.subarray(1))).toThrow(openFailed);
  });

  it('hands out plain arrays with memory of their own', () => {
    const seed = new Uint8Array(64).fill(5);
    const pair = p.x25519KeyPair(seed.slice(0, 32));
    const kem = p.kemKeyPair(seed);
    const { ciphertext, sharedSecret } = p.kemEncapsulate(kem.encapsulationKey, seed.slice(0, 32));
    const sealed = p.seal(seed.slice(0, 32), NONCE, NONE, seed);
    for (const result of [
      p.random(16),
      p.sha256(seed),
      p.hmac(seed, seed),
      p.hkdf(seed, seed, NONE, 64),
      ...Object.values(pair),
      p.x25519(pair.privateKey, pair.publicKey),
      ...Object.values(p.x25519Encapsulate(pair.publicKey, seed.slice(32))),
      ...Object.values(kem),
      ciphertext,
      sharedSecret,
      p.kemDecapsulate(ciphertext, kem.decapsulationKey),
      sealed,
      p.open(seed.slice(0, 32), NONCE, NONE, sealed),
    ]) {
      expect(result.constructor).toBe(Uint8Array);
      expect(result.buffer.byteLength).toBe(result.length);
    }
    kem.decapsulationKey.fill(0);
    expect(seed).toEqual(new Uint8Array(64).fill(5));
  });

  it('draws different random bytes and compares by content', () => {
    expect(p.random(32)).not.toEqual(p.random(32));
    expect(p.equal(Uint8Array.of(1, 2), Uint8Array.of(1, 2))).toBe(true);
    expect(p.equal(Uint8Array.of(1, 2), Uint8Array.of(1, 3))).toBe(false);
    expect(p.equal(Uint8Array.of(1, 2), Uint8Array.of(1))).toBe(false);
    expect(p.equal(NONE, NONE)).toBe(true);
  });
});

describe('node and portable primitives agree on', () => {
  const same = <T>(one: T, other: T) => expect(one).toStrictEqual(other);

  it('hashes', () => {
    fc.assert(
      fc.property(text, fc.array(text, { maxLength: 3 }), (key, parts) => {
        same(nodePrimitives.sha256(...parts), noblePrimitives.sha256(...parts));
        same(nodePrimitives.hmac(key, ...parts), noblePrimitives.hmac(key, ...parts));
        const [ikm = key, info = key] = parts;
        same(nodePrimitives.hkdf(key, ikm, info, 96), noblePrimitives.hkdf(key, ikm, info, 96));
      }),
    );
  });

  it('X25519 of any two strings', () => {
    fc.assert(
      fc.property(bytes(32), bytes(32), (privateKey, publicKey) => {
        same(nodePrimitives.x25519KeyPair(privateKey), noblePrimitives.x25519KeyPair(privateKey));
        same(nodePrimitives.x25519(privateKey, publicKey), noblePrimitives.x25519(privateKey, publicKey));
      }),
    );
  });

  it('X25519 with a pair of its own', () => {
    fc.assert(
      fc.property(bytes(32), bytes(32), (recipient, seed) => {
        for (const primitives of [nodePrimitives, noblePrimitives]) {
          same(primitives.x25519Encapsulate(recipient, seed), {
            publicKey: nodePrimitives.x25519KeyPair(seed).publicKey,
            sharedSecret: nodePrimitives.x25519(seed, recipient),
          });
        }
      }),
    );
  });

  it('AES-GCM', () => {
    fc.assert(
      fc.property(fc.oneof(bytes(16), bytes(32)), bytes(12), text, text, (key, nonce, ad, plaintext) => {
        const sealed = nodePrimitives.seal(key, nonce, ad, plaintext);
        same(sealed, noblePrimitives.seal(key, nonce, ad, plaintext));
        same(nodePrimitives.open(key, nonce, ad, sealed), plaintext);
        same(noblePrimitives.open(key, nonce, ad, sealed), plaintext);
      }),
    );
  });

  it('ML-KEM-768, also of ciphertexts that nobody made', () => {
    fc.assert(
      fc.property(bytes(64), bytes(32), bytes(1088), (seed, coins, forged) => {
        const pair = nodePrimitives.kemKeyPair(seed);
        const ours = noblePrimitives.kemKeyPair(seed);
        same(pair.encapsulationKey, ours.encapsulationKey);
        const sealed = nodePrimitives.kemEncapsulate(pair.encapsulationKey, coins);
        same(sealed, noblePrimitives.kemEncapsulate(pair.encapsulationKey, coins));
        for (const ciphertext of [sealed.ciphertext, forged]) {
          same(
            nodePrimitives.kemDecapsulate(ciphertext, pair.decapsulationKey),
            noblePrimitives.kemDecapsulate(ciphertext, ours.decapsulationKey),
          );
        }
      }),
      { numRuns: 20 },
    );
  });
});

describe('random bytes of Node', () => {
  it('are handed out once, in memory of their own', () => {
    const lengths = [0, 1, 7, 16, 32, 64, 255, 256, 257, 5_000];
    const blocks: string[] = [];
    for (let i = 0; i < 3_000; i++) {
      const length = lengths[i % lengths.length] as number;
      const bytes = nodePrimitives.random(length);
      expect([bytes.length, bytes.buffer.byteLength]).toEqual([length, length]);
      for (let at = 0; at + 16 <= length; at += 16) blocks.push(toHex(bytes.subarray(at, at + 16)));
    }
    expect(new Set(blocks).size).toBe(blocks.length);
  });
});
