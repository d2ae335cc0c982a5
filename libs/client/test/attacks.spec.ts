import {
  ChannelBlockedError,
  createRemote,
  fetchTransport,
  OutcomeUnknownError,
  PolicyError,
  type RemoteError,
  type Transport,
} from '@sealwire/client';
import { httpTransport } from '@sealwire/client/http';
import { undiciTransport } from '@sealwire/client/undici';
import { CONTENT_TYPE, encodeReply, frameType } from '@sealwire/core';
import { describe, expect, it, vi } from 'vitest';
import { PeerServer, refused } from '../../../test/support/peer/server.js';
import { polluted } from '../../../test/support/polluted.js';
import { connect, type Kind, type Network, useFakeTimers } from './support/remote.js';

const answer = (status: number, contentType: string, body: Uint8Array | string) => ({
  status,
  contentType,
  body: typeof body === 'string' ? new TextEncoder().encode(body) : body,
});

const garbage = [
  ['nothing', answer(200, CONTENT_TYPE, '')],
  ['random bytes', answer(200, CONTENT_TYPE, new Uint8Array(200).fill(0x5a))],
  ['the plaintext of a result', answer(200, CONTENT_TYPE, encodeReply({ outcomes: [{ ok: true, value: 666 }] }))],
  ['a plain result', answer(200, 'application/cbor', encodeReply({ outcomes: [{ ok: true, value: 666 }] }))],
  ['a plain JSON result', answer(200, 'application/json', '{"outcomes":[{"ok":true,"value":666}]}')],
  ['a page of a proxy', answer(200, 'text/html', '<h1>sign in</h1>')],
  ['HTTP 502', answer(502, 'text/html', 'bad gateway')],
  ['bad_frame', refused('bad_frame')],
  ['busy', { ...refused('busy'), retryAfter: 0.01 }],
  ['encryption_required', refused('encryption_required')],
] as const;

describe('answers that anybody could give', () => {
  it.each(garbage)('are never a result of a call: %s', async (_name, forged) => {
    const server = new PeerServer();
    const kinds: Kind[] = [];
    const remote = connect(server, {
      network: (_request, next, kind) => {
        kinds.push(kind);
        return kind === 'call' && kinds.filter((k) => k === 'call').length < 3 ? forged : next();
      },
    });
    await remote.add(0, 0);
    expect(await remote.add(1, 2)).toBe(3);
    // no reason to leave the session, and the function ran once
    expect(kinds).toEqual(['start', 'finish', 'call', 'call', 'call']);
    expect(server.runs).toHaveLength(2);
  });

  it.each(garbage.slice(0, 9))('are never a step of the handshake: %s', async (_name, forged) => {
    const server = new PeerServer();
    const forgedKinds = new Set<Kind>();
    const remote = connect(server, {
      network(_request, next, kind) {
        if (forgedKinds.has(kind)) return next();
        forgedKinds.add(kind);
        return forged;
      },
    });
    expect(await remote.add(1, 2)).toBe(3);
    expect(server.runs).toHaveLength(1);
  });

  it('never make an encrypting client send plaintext', async () => {
    const server = new PeerServer();
    const types = new Set<string>();
    const remote = connect(server, {
      timeout: 50,
      network: (request) => {
        types.add(request.contentType);
        return refused('unsupported_media_type');
      },
    });
    await expect(remote.add(1, 2)).rejects.toMatchObject({ code: 'unsupported_media_type' });
    expect([...types]).toEqual([CONTENT_TYPE]);
  });

  it("do not open if they answer another call's frame", async () => {
    const server = new PeerServer();
    let first: Uint8Array | undefined;
    let calls = 0;
    const remote = connect(server, {
      async network(_request, next, kind) {
        const response = await next();
        if (kind !== 'call') return response;
        first ??= response.body;
        return ++calls === 2 ? { ...response, body: first } : response;
      },
    });
    await remote.add(0, 0);
    expect(await remote.add(1, 1)).toBe(2);
    expect(await remote.add(2, 2)).toBe(4);
    expect(calls).toBe(3);
  });

  it('never end a call as too large: the server says under seal what it takes', async () => {
    const server = new PeerServer();
    let forged = 0;
    const remote = connect(server, {
      network: (_request, next, kind) => (kind === 'call' && forged++ === 0 ? refused('too_large') : next()),
    });
    await remote.add(0, 0);
    expect(await remote.add(1, 2)).toBe(3);
    expect(server.seen.map(({ kind }) => kind)).toEqual(['start', 'finish', 'start', 'finish', 'call']);
    expect(server.runs).toHaveLength(2);
  });
});

describe('an answer without an end', () => {
  /** Begins so and never ends; counts what is read of it. */
  function endless(head: readonly number[]) {
    const seen = { bytes: 0, cancelled: 0 };
    const body = {
      async read() {
        const value = new Uint8Array(16_384).fill(5);
        if (seen.bytes === 0) value.set(head);
        seen.bytes += value.length;
        return { done: false, value };
      },
      async cancel() {
        seen.cancelled++;
      },
    };
    return { seen, answer: { status: 200, contentType: CONTENT_TYPE, body } };
  }

  it.each([
    ['a result of one piece', [0x12, 1, 0], 100_000],
    ['a result of several pieces', [0x12, 1, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 1, 0, 16], 100_000],
    ['a result whose first piece is too long', [0x12, 1, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 1, 0, 17], 100_000],
    ['a result whose first piece is too short', [0x12, 1, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 20], 100_000],
    ['a result of another kind', [0x12, 1, 4], 100_000],
    ['an answer to step 3', [4, 1, 0], 1_300_000],
  ])('ends no call and is read no further than it opens: %s', async (_name, head, most) => {
    const server = new PeerServer();
    const { seen, answer: forged } = endless(head);
    let calls = 0;
    const remote = connect(server, {
      network: (_request, next, kind) => (kind === 'call' && ++calls === 1 ? forged : next()),
    });
    await remote.add(0, 0);
    expect(await remote.add(1, 2)).toBe(3);
    expect(seen.cancelled).toBe(1);
    expect(seen.bytes).toBeLessThan(most);
    expect(calls).toBe(2);
  });

  /** A remote whose answers come in parts, and of which that many bytes are taken. */
  function taking(maxResponse: number, change: (body: Uint8Array) => Uint8Array = (body) => body) {
    const server = new PeerServer();
    const transport: Transport = {
      maxResponse,
      async send(request) {
        const { body, ...rest } = await server.handle(request as never);
        const left = frameType(request.body as Uint8Array) === 'call' ? change(body) : body;
        let at = -10_000;
        const read = async () => {
          at += 10_000;
          return { done: at >= left.length, value: left.subarray(at, at + 10_000) };
        };
        return { ...rest, body: { read, cancel: async () => {} } };
      },
    };
    return { server, remote: connect(server, { transport }) };
  }

  it.each([
    ['one piece', 1_000, 500, 5_000],
    ['several pieces', 150_000, 100_000, 200_000],
  ])(
    'which is longer than this client reads ends its call once its beginning opened: %s',
    async (_name, most, fitting, length) => {
      const { server, remote } = taking(most);
      await remote.add(0, 0);
      expect(await remote.echo(new Uint8Array(fitting))).toHaveLength(fitting);
      const error = await remote.echo(new Uint8Array(length)).catch((e: unknown) => e);
      expect(error).not.toBeInstanceOf(OutcomeUnknownError);
      expect(error).toMatchObject({
        code: 'too_large',
        message: `The answer is longer than the ${most} bytes of maxResponse.`,
      });
      expect(server.count('call')).toBe(2);
    },
  );

  it.each([
    ['one piece', 1_000, 5_000],
    ['several pieces', 150_000, 200_000],
  ])('is no reason to end a call if its beginning does not open: %s', async (_name, most, length) => {
    const { remote } = taking(most, (body) => body.with(40, (body[40] as number) ^ 1));
    await remote.add(0, 0);
    // a handshake tells its result in the end
    expect(await remote.$call({ timeout: 1_500 }).echo(new Uint8Array(length))).toHaveLength(length);
  });
});

describe('a bad network', () => {
  it('runs every call once under drops, duplicates and delays', async () => {
    const server = new PeerServer();
    let seed = 7;
    const random = () => {
      seed = (seed * 48_271) % 0x7fff_ffff;
      return seed / 0x7fff_ffff;
    };
    const network: Network = async (_request, next) => {
      const fate = random();
      if (fate < 0.15) throw new Error('request dropped');
      if (fate < 0.3) await next();
      if (fate < 0.4) {
        await next();
        throw new Error('response dropped');
      }
      if (fate < 0.5) await new Promise((resolve) => setTimeout(resolve, 20 * random()));
      return next();
    };
    const remote = connect(server, { network });
    const sums = await Promise.all(Array.from({ length: 100 }, (_, i) => remote.add(i, 1000)));
    expect(sums).toEqual(Array.from({ length: 100 }, (_, i) => i + 1000));
    expect(server.runs.map(({ args }) => args[0]).sort((a, b) => Number(a) - Number(b))).toEqual(
      Array.from({ length: 100 }, (_, i) => i),
    );
  });

  it('sends a call again whose answer never comes', async () => {
    useFakeTimers();
    const server = new PeerServer();
    let calls = 0;
    const remote = connect(server, {
      network: (_request, next, kind) => (kind === 'call' && ++calls === 1 ? new Promise(() => {}) : next()),
    });
    await remote.add(0, 0);
    const call = remote.add(1, 2);
    await vi.advanceTimersByTimeAsync(12_000);
    expect(await call).toBe(3);
  });
});

describe('a flood of forged session_unknown', () => {
  it('sets off few handshakes a minute, and ends as a blocked channel', async () => {
    useFakeTimers();
    const server = new PeerServer();
    const remote = connect(server, {
      timeout: 600_000,
      network: (_request, next, kind) => (kind === 'call' ? refused('session_unknown') : next()),
    });
    await remote.echo('first');
    server.seen.length = 0;
    // too large for step 3, so that it never gets through
    const call = remote.echo(new Uint8Array(1_100_000)).catch((e: unknown) => e);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(server.count('start')).toBeGreaterThanOrEqual(3);
    expect(server.count('start')).toBeLessThanOrEqual(10);
    server.seen.length = 0;
    await vi.advanceTimersByTimeAsync(60_000);
    expect(server.count('start')).toBeLessThanOrEqual(3);
    await vi.advanceTimersByTimeAsync(300_000);
    const error = await call;
    expect(error).toBeInstanceOf(OutcomeUnknownError);
    expect(error).toMatchObject({ cause: { code: 'channel_blocked' } });
    expect((error as Error).cause).toBeInstanceOf(ChannelBlockedError);
  }, 60_000);

  it('is over at once when the forger stops, on the session that is there', async () => {
    useFakeTimers();
    const server = new PeerServer();
    let forge = true;
    const remote = connect(server, {
      network: (_request, next, kind) => (kind === 'call' && forge ? refused('session_unknown') : next()),
    });
    await remote.echo('first');
    const call = remote.add(5, 5);
    await vi.advanceTimersByTimeAsync(8_000);
    const starts = server.count('start');
    expect(starts).toBeGreaterThan(3);
    forge = false;
    // the call pauses between its numbers, and no longer than this
    await vi.advanceTimersByTimeAsync(5_100);
    expect(await call).toBe(10);
    expect(server.runs).toHaveLength(2);
    await vi.advanceTimersByTimeAsync(120_000);
    expect(server.count('start') - starts).toBeLessThanOrEqual(1);
  });

  it('does not hold up new calls while the next handshake has to wait', async () => {
    useFakeTimers();
    const server = new PeerServer();
    const remote = connect(server, {
      timeout: 60_000,
      // the forger knows frames by their length
      network: (request, next, kind) =>
        kind === 'call' && request.body.length > 1000 ? refused('session_unknown') : next(),
    });
    await remote.echo('first');
    const big = remote.echo('x'.repeat(2000)).catch((e: unknown) => e);
    await vi.advanceTimersByTimeAsync(20_000);
    const starts = server.count('start');
    const small = remote.add(1, 2);
    await vi.advanceTimersByTimeAsync(10);
    expect(await small).toBe(3);
    expect(server.count('start')).toBe(starts);
    await vi.advanceTimersByTimeAsync(60_000);
    // whether its last frame was answered `never_ran` when its time ended
    expect(await big).toSatisfy((e: unknown) => e instanceof OutcomeUnknownError || (e as RemoteError).retryable);
    expect(server.runs.map(({ name }) => name)).toEqual(['echo', 'add']);
  });
});

describe('what another script put on Object.prototype', () => {
  const url = 'http://127.0.0.1:9/remote/payments';

  it.each([{ keySize: 0 }, { dangerouslyAllowAnyServer: true }, { serverKey: new PeerServer().serverKeyText }])(
    'is no option of a remote: %o',
    async (names) => {
      await expect(polluted(names, () => createRemote({ url }))).rejects.toThrow(PolicyError);
    },
  );

  it('ends no call at once', async () => {
    const remote = connect(new PeerServer());
    await polluted({ timeout: 0.001, signal: AbortSignal.abort() }, () => remote.$call({}).add(1, 2));
  });

  it('is no option of a transport, nor of fetch', async () => {
    const names = {
      maxResponse: 1,
      credentials: 'include',
      cache: 'force-cache',
      keepalive: true,
      agent: 1,
      dispatcher: 1,
    };
    for (const make of [fetchTransport, httpTransport, undiciTransport]) {
      const { maxResponse } = await polluted(names, () => make());
      expect(maxResponse).toBe(64 * 1024 * 1024);
    }
    const seen = vi.fn();
    const { send } = fetchTransport({
      fetch: async (_url, init) => {
        seen(init?.credentials, Reflect.get(Object(init), 'cache'), init?.keepalive);
        return new Response('');
      },
    });
    const signal = new AbortController().signal;
    await polluted(names, () => send({ url, body: new Uint8Array(1), contentType: CONTENT_TYPE, signal }));
    expect(seen.mock.calls).toEqual([[undefined, undefined, undefined]]);
  });
});
