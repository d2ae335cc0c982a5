import { createRemote, fetchTransport } from '@sealwire/client';
import { httpTransport } from '@sealwire/client/http';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { PeerServer } from '../../../test/support/peer/server.js';
import { certificate } from './support/certificate.js';
import { type Api, connect, type Network } from './support/remote.js';
import { BREAKING, listenTls, onTheWay } from './support/tls.js';

it('a call that was answered nothing but `busy` under seal did not run', async () => {
  const server = new PeerServer();
  const remote = connect(server);
  await remote.add(1, 2);
  server.onCall = () => ({ status: 'busy' });
  const error = await remote
    .$call({ timeout: 300 })
    .add(1, 2)
    .catch((e: unknown) => e);
  expect(error).toMatchObject({ code: expect.not.stringMatching('outcome_unknown') });
});

it.each(BREAKING)('a call that is answered %s in place of a record of TLS may have run', async (_what, bytes) => {
  const server = new PeerServer();
  const { url, inject } = await onTheWay(
    await listenTls(async (request, response) => {
      const parts: Buffer[] = [];
      for await (const part of request) parts.push(part);
      const body = new Uint8Array(Buffer.concat(parts));
      const answer = await server.handle({ body, contentType: request.headers['content-type'] ?? '' });
      if (server.count('call') === 0) response.end(answer.body);
      else inject(bytes);
    }),
  );
  const { serverKeyText: serverKey, secureKeyText: secureKey } = server;
  const remote = createRemote<Api>({ url, serverKey, secureKey, transport: httpTransport({ ca: certificate.cert }) });
  onTestFinished(() => remote.$close());
  await remote.add(0, 0);
  await expect(remote.$call({ timeout: 300 }).add(1, 2)).rejects.toMatchObject({ code: 'outcome_unknown' });
  expect(server.runs).toHaveLength(2);
});

describe('a call whose headers cannot be made', () => {
  /** Headers that can be made as long as there is a token. */
  function expiring() {
    const state = { expired: false };
    const headers = () => {
      if (state.expired) throw new Error('no token');
      return {};
    };
    return { state, headers };
  }
  const refusal = { code: 'bad_configuration', message: 'headers() failed: no token' };
  // each waits longer than a test may
  const patient = { timeout: 120_000 };

  it('was not sent, and ends at once', async () => {
    const server = new PeerServer();
    const { state, headers } = expiring();
    const remote = connect(server, { headers });
    await remote.add(1, 2);
    state.expired = true;
    await expect(remote.$call(patient).add(1, 2)).rejects.toMatchObject(refusal);
    expect(server.runs).toHaveLength(1);
    state.expired = false;
    expect(await remote.add(3, 4)).toBe(7);
  });

  it('ends at once as well if it waits for a handshake, the first one or a later one', async () => {
    const server = new PeerServer();
    const { state, headers } = expiring();
    state.expired = true;
    await expect(connect(server, { headers, waitForServer: true, ...patient }).add(1, 2)).rejects.toMatchObject(
      refusal,
    );
    state.expired = false;
    server.lifetime = 100;
    const remote = connect(server, { headers });
    await remote.add(1, 2);
    vi.useFakeTimers({ toFake: ['Date'] });
    onTestFinished(() => {
      vi.useRealTimers();
    });
    vi.setSystemTime(Date.now() + 200_000);
    state.expired = true;
    await expect(remote.$call(patient).add(5, 6)).rejects.toMatchObject(refusal);
    expect(server.count('call')).toBe(0);
    state.expired = false;
    expect(await remote.add(5, 6)).toBe(11);
  });

  it.each([
    ['Headers', () => new Headers({ authorization: 'Bearer x' })],
    ['a promise', async () => ({ authorization: 'Bearer x' })],
    ['nothing', () => undefined],
  ])('was not sent without those that came as %s', async (_, headers) => {
    const server = new PeerServer();
    const remote = connect(server, { headers: headers as never, ...patient });
    await expect(remote.add(1, 2)).rejects.toMatchObject({
      code: 'bad_configuration',
      message: 'headers() failed: it must return an object of names and texts',
    });
    expect(server.count('start')).toBe(0);
  });

  it('goes on to be asked about if it may have run', async () => {
    const server = new PeerServer();
    const { state, headers } = expiring();
    let lost = false;
    const network: Network = async (_, next, kind) => {
      const answer = await next();
      if (!lost || kind !== 'call') return answer;
      lost = false;
      state.expired = true;
      throw new Error('the answer got lost');
    };
    const remote = connect(server, { headers, network });
    await remote.add(1, 2);
    lost = true;
    remote.$events.on('retrying', ({ attempt }) => {
      if (attempt > 1) state.expired = false;
    });
    expect(await remote.add(3, 4)).toBe(7);
    expect(server.runs).toHaveLength(2);
  });

  it('is known not to have run without encryption, too', async () => {
    const plain = { keySize: 0, serverKey: undefined as never, secureKey: undefined as never } as const;
    const { state, headers } = expiring();
    state.expired = true;
    const call = connect(new PeerServer(), { ...plain, headers }).add(1, 2);
    await expect(call).rejects.toMatchObject(refusal);
  });
});

it('a header that no request may have is no try to reach the server', async () => {
  const request = {
    url: 'http://127.0.0.1:9/x',
    body: new Uint8Array(1),
    contentType: 'x/y',
    signal: new AbortController().signal,
  };
  const sending = fetchTransport().send({ ...request, headers: { authorization: 'Bearer a\nb' } });
  await expect(sending).rejects.toMatchObject({ code: 'bad_configuration' });
});

it('a password in the URL is refused at once and stands in no error', () => {
  const { secureKeyText: secureKey } = new PeerServer();
  const create = () => createRemote({ url: 'http://user:secret@127.0.0.1/remote/payments', secureKey });
  expect(create).toThrow('no password');
  expect(create).not.toThrow('secret');
});
