import { createRemote, fetchTransport } from '@sealwire/client';
import { expect, it } from 'vitest';
import { PeerServer } from '../../../test/support/peer/server.js';
import { connect } from './support/remote.js';

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

it('a call whose headers cannot be made was not sent', async () => {
  const server = new PeerServer();
  let expired = false;
  const headers = () => {
    if (expired) throw new Error('no token');
    return {};
  };
  const remote = connect(server, { headers });
  await remote.add(1, 2);
  expired = true;
  const error = await remote
    .$call({ timeout: 300 })
    .add(1, 2)
    .catch((e: unknown) => e);
  expect(error).toMatchObject({ code: 'unreachable', message: expect.stringContaining('no token') });
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
