import { isSessionIdOf, makeSessionId } from '@sealwire/core';
import { nodePrimitives as primitives } from '@sealwire/core/node';
import { describe, expect, it } from 'vitest';
import { flipped, handshake } from './session.js';

const key = primitives.random(32);
const random = primitives.random(10);
const id = makeSessionId(primitives, key, 'payments', random);

describe('a session id', () => {
  it('is 10 random bytes and a MAC of them, which its server recognises', () => {
    expect(id.length).toBe(16);
    expect(id.slice(0, 10)).toEqual(random);
    expect(isSessionIdOf(primitives, key, 'payments', id)).toBe(true);
  });

  it('of another module or server, of another length or with any bit flipped is not recognised', () => {
    expect(isSessionIdOf(primitives, key, 'public', id)).toBe(false);
    expect(isSessionIdOf(primitives, primitives.random(32), 'payments', id)).toBe(false);
    for (let bit = 0; bit < 128; bit++)
      expect(isSessionIdOf(primitives, key, 'payments', flipped(id, bit))).toBe(false);
    for (let length = 0; length < 16; length++) {
      expect(isSessionIdOf(primitives, key, 'payments', id.slice(0, length))).toBe(false);
    }
  });

  it('is what a handshake yields', () => {
    const { finished, sessionIdKey } = handshake({ keySize: 32, pinned: true, secureKey: false });
    expect(isSessionIdOf(primitives, sessionIdKey, 'payments', finished.sessionId)).toBe(true);
  });
});
