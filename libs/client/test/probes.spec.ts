import { inspect } from 'node:util';
import { isObservable } from 'rxjs';
import { expect, it } from 'vitest';
import { PeerServer } from '../../../test/support/peer/server.js';
import { connect } from './support/remote.js';

type Any = Record<string | symbol, unknown>;

it('is nothing that libraries take it for, and no probe of theirs becomes a call', async () => {
  const server = new PeerServer();
  const remote = connect(server) as unknown as Any;
  expect(isObservable(remote)).toBe(false);
  expect(await (remote as unknown as Promise<unknown>)).toBe(remote);
  expect(JSON.stringify({ remote })).toBe('{"remote":{"$events":{}}}');
  expect(inspect(remote)).toContain('$batch');
  expect(() => structuredClone(remote)).toThrow(/could not be cloned/);
  expect(remote).not.toEqual({ other: 1 });
  expect([remote]).toContain(remote);
  expect(`${remote}`).toBe('[object Object]');
  for (const name of ['lift', 'asymmetricMatch', '@@observable', '@@iterator', '__v_isRef', '__esModule', '$$typeof']) {
    expect(remote[name], name).toBeUndefined();
  }
  expect(server.seen).toEqual([]);
});

it('has one function for each name, and takes no assignment', () => {
  const remote = connect(new PeerServer());
  expect(remote.add).toBe(remote.add);
  expect(() => {
    remote.add = async () => 1;
  }).toThrow(TypeError);
});
