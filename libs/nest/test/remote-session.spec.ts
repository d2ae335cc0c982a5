import { toHex } from '@sealwire/core';
import { SessionConflictError, SessionValueError } from '@sealwire/nest';
import type { SessionData, SessionStore } from '@sealwire/nest/ports';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openPglite, openSession, primitives, startInstance } from '../../typeorm/test/support.js';
import { CallSession, MemoryStore } from '../src/sessions/index.js';

async function memory() {
  const store = new MemoryStore(primitives);
  return { sessions: store as SessionStore, data: store as SessionData, close: async () => undefined };
}

async function database() {
  const { dataSource, close } = await openPglite();
  const { sessions, data } = await startInstance(dataSource, { exclusiveDatabase: true });
  const stopped = () => sessions.stop().then(close);
  return { sessions: sessions as SessionStore, data: data as SessionData, close: stopped };
}

class Basket {
  items = 1;
}

const itself: { again?: unknown } = {};
itself.again = itself;

describe.each([
  ['memory', memory],
  ['the database', database],
])('the data of a session in %s', (_name, open) => {
  let sessions: SessionStore;
  let data: SessionData;
  let close: () => Promise<void>;
  let id: Uint8Array;
  const session = () => new CallSession(data, { id, key: toHex(id), module: 'payments', keyId: undefined });

  beforeAll(async () => {
    ({ sessions, data, close } = await open());
  });
  afterAll(() => close());
  beforeEach(async () => {
    ({ id } = await openSession({ sessions } as never));
  });

  it.each([
    [null],
    [true],
    [0.1],
    [-5e-324],
    ['é 👍'],
    [[1, [null, { a: {} }]]],
    [{ a: { b: 'text' }, c: [] }],
    [Object.assign(Object.create(null), { bare: 1 })],
    [JSON.parse('{ "__proto__": { "x": 1 }, "constructor": 3 }')],
  ])('comes back as it was: %j', async (value) => {
    await session().set('name', value);
    expect(JSON.stringify(await session().get('name'))).toBe(JSON.stringify(value));
  });

  it.each([
    ['a Map', new Map([[1, 2]]), /holds an object of class Map/],
    ['a Date', { at: new Date(0) }, /holds an object of class Date/],
    ['bytes', [Uint8Array.of(1)], /holds an object of class Uint8Array/],
    ['an object of a class', new Basket(), /holds an object of class Basket/],
    ['no number', Number.NaN, /holds NaN/],
    ['an infinite number', Number.NEGATIVE_INFINITY, /holds -Infinity/],
    ['a bigint', 5n, /holds bigint/],
    ['undefined', { a: undefined }, /holds undefined/],
    ['a function', () => 1, /holds function/],
    ['a NUL', 'a\0b', /holds a NUL character/],
    ['a NUL in a name', { '\0': 1 }, /holds a NUL character/],
    ['half a pair', ['\ud800'], /holds half of a surrogate pair/],
    ['what contains itself', itself, /nested too deeply or contains itself/],
  ])('is not %s', async (_what, value, sentence) => {
    await session().set('name', 'before');
    const refused = await session()
      .set('name', value)
      .catch((error) => error);
    expect(refused).toBeInstanceOf(SessionValueError);
    expect(refused).toBeInstanceOf(TypeError);
    expect(refused.message).toMatch(sentence);
    expect(refused.key).toBe('name');
    expect(await session().get('name')).toBe('before');
  });

  it('takes no name that a store could not keep', async () => {
    await expect(session().set('\0', 1)).rejects.toThrow(SessionValueError);
  });

  it('is handed out and taken as copies', async () => {
    const given = { items: [1] };
    const call = session();
    await call.set('basket', given);
    given.items.push(2);
    const got = await call.get<typeof given>('basket');
    got?.items.push(3);
    await call.set('other', 1);
    expect(await session().get('basket')).toEqual({ items: [1] });
    expect(await session().get('toString')).toBeUndefined();
  });

  it('is written by one of two calls that read the same', async () => {
    const [one, two] = [session(), session()];
    expect([await one.get('n'), await two.get('n')]).toEqual([undefined, undefined]);
    await one.set('n', 1);
    await expect(two.set('n', 1)).rejects.toThrow(SessionConflictError);
    await one.set('m', 2);
    expect([await session().get('n'), await session().get('m')]).toEqual([1, 2]);
  });
});
