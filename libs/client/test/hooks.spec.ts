import type { Call } from '@sealwire/core';
import { expect, it, vi } from 'vitest';
import { PeerServer } from '../../../test/support/peer/server.js';
import type { Any } from './support/live.js';
import { connect, gate, useFakeTimers } from './support/remote.js';

/** A server whose function `whoami` a guard keeps from everybody without one of these tokens; `login` gives one. */
function guarded(...tokens: readonly string[]) {
  const server = new PeerServer();
  const calls: Call[] = [];
  server.onCall = (_session, _number, all) => {
    calls.push(...all);
    return undefined;
  };
  server.functions.whoami = () => {
    const token = calls.at(-1)?.metadata?.authorization ?? '';
    if (tokens.includes(token)) return token;
    throw Object.assign(new Error('Unauthorized'), { code: 'unauthorized', details: { status: 401, ran: false } });
  };
  server.functions.login = () => tokens[0];
  return { server, calls };
}

it('refresh calls functions of its own module while onSession waits for it', async () => {
  const { server } = guarded('new');
  let token = 'old';
  const remote = connect(server, {
    metadata: () => ({ authorization: token }),
    onSession: (early: Any) => early.whoami(),
    refresh: async (own: Any) => {
      token = await own.login();
    },
  } as object) as Any;
  expect(await remote.whoami()).toBe('new');
});

it('refresh that is refused itself fails, and does not wait for itself', async () => {
  const { server } = guarded('new');
  const remote = connect(server, { refresh: (own: Any) => own.whoami() } as object) as Any;
  await expect(remote.whoami()).rejects.toMatchObject({
    code: 'unauthorized',
    message: expect.stringMatching(/refresh\(\) failed: Unauth/),
  });
});

it('what refresh gave gives way to metadata that is newer', async () => {
  const { server } = guarded('ada new', 'bob');
  let token = 'ada old';
  const refresh = vi.fn(() => ({ authorization: 'ada new' }));
  const remote = connect(server, { metadata: () => ({ authorization: token }), refresh }) as Any;
  expect(await remote.whoami()).toBe('ada new');
  expect(await remote.whoami()).toBe('ada new');
  token = 'bob';
  expect(await remote.whoami()).toBe('bob');
  expect(refresh).toHaveBeenCalledOnce();
});

it.each([
  ['a function', (token: () => string) => () => ({ authorization: token() })],
  ['an asynchronous function', (token: () => string) => async () => ({ authorization: token() })],
])('calls that waited for onSession say what metadata that is %s gives afterwards', async (_, source) => {
  const { server, calls } = guarded('new');
  let token = 'none';
  const remote = connect(server, {
    metadata: source(() => token),
    onSession: async (early: Any) => {
      token = await early.login();
    },
  } as object) as Any;
  const argument = { cents: 1 };
  const echoed = remote.echo(argument);
  argument.cents = 2;
  expect(await Promise.all([remote.whoami(), echoed, remote.whoami()])).toEqual(['new', { cents: 1 }, 'new']);
  const told = calls.map(({ name, metadata }) => `${name} ${metadata?.authorization}`);
  expect(told.sort()).toEqual(['echo new', 'login none', 'whoami new', 'whoami new']);
});

it('a refresh that does not answer in the time of the call is told, and asked anew', async () => {
  useFakeTimers();
  const { server } = guarded('new');
  const never = gate<never>();
  const answers: unknown[] = [never.passed, { authorization: 'new' }];
  const refresh = vi.fn(() => answers.shift());
  const remote = connect(server, { timeout: 1_000, refresh } as object) as Any;
  const call = remote.whoami();
  const told = expect(call).rejects.toMatchObject({
    code: 'unauthorized',
    message: expect.stringMatching(/refresh\(\) failed: it has not/),
  });
  await vi.waitFor(() => expect(refresh).toHaveBeenCalled());
  await vi.advanceTimersByTimeAsync(1_100);
  await told;
  expect(await remote.whoami()).toBe('new');
  expect(refresh).toHaveBeenCalledTimes(2);
});

it('a late answer of refresh does not undo a newer one', async () => {
  useFakeTimers();
  const { server } = guarded('newer');
  const late = gate<object>();
  const answers: unknown[] = [late.passed, { authorization: 'newer' }];
  const remote = connect(server, { timeout: 1_000, refresh: () => answers.shift() } as object) as Any;
  const first = expect(remote.whoami()).rejects.toMatchObject({ code: 'unauthorized' });
  await vi.waitFor(() => expect(answers).toHaveLength(1));
  await vi.advanceTimersByTimeAsync(1_100);
  await first;
  expect(await remote.whoami()).toBe('newer');
  late.open({ authorization: 'older' });
  await vi.advanceTimersByTimeAsync(10);
  expect(await remote.whoami()).toBe('newer');
});

it('calls that wait in the queue or for slow metadata say what metadata gives after onSession, too', async () => {
  const { server, calls } = guarded('new');
  const [login, slow] = [gate(), gate()];
  let token = 'none';
  let asked = 0;
  const remote = connect(server, {
    metadata: async () => {
      const taken = token;
      if (++asked === 300) await slow.passed;
      return { authorization: taken };
    },
    onSession: async (early: Any) => {
      await early.login();
      await login.passed;
      token = 'new';
    },
  } as object) as Any;
  const all = Promise.all(Array.from({ length: 300 }, () => remote.whoami()));
  await vi.waitFor(() => expect(calls).toHaveLength(1));
  login.open();
  await vi.waitFor(() => expect(calls.length).toBeGreaterThan(200));
  slow.open();
  expect(new Set(await all)).toEqual(new Set(['new']));
});

it('a call that was sent again and is refused keeps what its guard said, but that it never ran', async () => {
  const server = new PeerServer();
  server.idempotent.add('whoami');
  server.functions.whoami = () => {
    const details = { status: 401, ran: false, reason: 'expired' };
    throw Object.assign(new Error('Unauthorized'), { code: 'unauthorized', details });
  };
  const remote = connect(server) as Any;
  await remote.add(0, 0);
  server.onCall = (_session, _number, [call]) => (call?.resend ? undefined : { status: 'result_gone' });
  const refused = await remote.whoami().catch((error: unknown) => error);
  expect(refused).toMatchObject({ code: 'unauthorized' });
  expect(refused.details).toEqual({ status: 401, reason: 'expired' });
});

it('metadata that fails after a good refresh is told as such', async () => {
  const { server } = guarded('new');
  let token: string | undefined = 'old';
  const metadata = () => {
    if (token === undefined) throw new Error('no token');
    return { authorization: token };
  };
  const refresh = () => {
    token = undefined;
  };
  const remote = connect(server, { metadata, refresh }) as Any;
  await expect(remote.whoami()).rejects.toMatchObject({
    code: 'metadata_failed',
    message: expect.stringMatching(/no token/),
  });
});

it('asynchronous metadata that a refresh overtook does not ask for another one', async () => {
  const { server } = guarded('new');
  const slow = gate();
  let token = 'old';
  const metadata = vi.fn(async () => {
    const taken = token;
    if (metadata.mock.calls.length === 2) await slow.passed;
    return { authorization: taken };
  });
  const refresh = vi.fn(() => {
    token = 'new';
  });
  const remote = connect(server, { metadata, refresh }) as Any;
  await remote.add(0, 0);
  const late = remote.whoami();
  expect(await remote.whoami()).toBe('new');
  slow.open();
  expect(await late).toBe('new');
  expect(refresh).toHaveBeenCalledOnce();
});

it.each([
  ['sealed', {}],
  ['plain', { keySize: 0 as const, serverKey: undefined, secureKey: undefined }],
])('$close() ends %s calls whose metadata is still being made', async (_, options) => {
  const remote = connect(new PeerServer(), { ...options, metadata: () => new Promise(() => {}) } as object);
  const call = remote.add(1, 2);
  remote.$close();
  await expect(call).rejects.toMatchObject({ code: 'closed' });
});

it('refresh without sessions is refused', () => {
  const plain = { keySize: 0 as const, serverKey: undefined, secureKey: undefined };
  expect(() => connect(new PeerServer(), { ...plain, refresh: () => {} } as object)).toThrow(/keySize 0.*refresh/);
});
