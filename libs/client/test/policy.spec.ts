import { createRemote, fetchTransport, PolicyError, type RemoteOptions } from '@sealwire/client';
import { formatKeyText, generateKeyText, SealwireError } from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import { describe, expect, it, vi } from 'vitest';
import { PeerServer, refused } from '../../../test/support/peer/server.js';
import { connect } from './support/remote.js';

const url = 'http://localhost/remote/payments';
const serverKey = generateKeyText('swp1', nodePrimitives);
const secureKey = generateKeyText('swk1', nodePrimitives);

describe('options', () => {
  it('refuse a client without any key of the server', () => {
    expect(() => createRemote({ url })).toThrow(PolicyError);
    expect(() => createRemote({ url })).toThrow(/Give one of them/);
    expect(() => createRemote({ url, dangerouslyAllowAnyServer: true })).not.toThrow();
  });

  it.each<[string, Partial<RemoteOptions>, string]>([
    ['a passphrase', { secureKey: 'correct horse battery staple' }, 'bad_key'],
    ['a private key as a pin', { serverKey: generateKeyText('sws1', nodePrimitives) }, 'bad_key'],
    ['a damaged pin', { serverKey: serverKey.replace(/.$/, (c) => (c === '0' ? '1' : '0')) }, 'bad_key'],
    ['three pins', { serverKey: [serverKey, serverKey, serverKey] as never }, 'bad_configuration'],
    ['another key size', { keySize: 24 as never, secureKey }, 'bad_configuration'],
    ['plaintext with keys', { keySize: 0, secureKey }, 'bad_configuration'],
    ['no time', { secureKey, timeout: 0 }, 'bad_configuration'],
    ['the function that makes a transport', { secureKey, transport: fetchTransport as never }, 'bad_configuration'],
    ['no transport', { secureKey, transport: {} as never }, 'bad_configuration'],
    ['a URL without a module', { secureKey, url: '' }, 'bad_configuration'],
  ])('refuse %s', (_name, options, code) => {
    expect(() => createRemote({ url, ...options })).toThrow(expect.objectContaining({ code }));
  });
});

describe('the handshake', () => {
  it.each<[string, Partial<RemoteOptions>]>([
    ['the pinned key alone', { secureKey: undefined as never }],
    ['the SecureKey alone', { serverKey: undefined as never }],
    [
      'neither, where that is wanted',
      { serverKey: undefined as never, secureKey: undefined as never, dangerouslyAllowAnyServer: true },
    ],
  ])('works with %s', async (_name, options) => {
    expect(await connect(new PeerServer(), options).add(1, 2)).toBe(3);
  });

  it('names the module by its path, not by the URL', async () => {
    const server = new PeerServer('billing');
    await expect(connect(server).add(1, 2)).rejects.toMatchObject({ code: 'handshake_failed' });
    expect(await connect(server, { modulePath: 'billing' }).add(1, 2)).toBe(3);
    expect(await connect(server, { url: 'http://localhost/billing/?x=1' }).add(1, 2)).toBe(3);
  });

  it('tries the other pin and stays with the one that worked', async () => {
    const server = new PeerServer();
    const remote = connect(server, { serverKey: [serverKey, server.serverKeyText] });
    expect(await remote.add(1, 2)).toBe(3);
    expect(server.count('start')).toBe(2);
    for (const session of server.sessions.values()) session.ended = true;
    expect(await remote.add(1, 2)).toBe(3);
    expect(server.count('start')).toBe(3);
  });

  it('rejects all waiting calls when both pins are refused, and tries again for the next', async () => {
    const server = new PeerServer();
    const remote = connect(server, { serverKey: [serverKey, serverKey] });
    const settled = await Promise.allSettled([remote.add(1, 2), remote.add(3, 4)]);
    for (const outcome of settled)
      expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'handshake_failed' } });
    expect(server.count('start')).toBe(2);
    await expect(remote.add(1, 2)).rejects.toMatchObject({ code: 'handshake_failed' });
    expect(server.count('start')).toBe(4);
  });

  it('goes on trying when it is refused after a session existed', async () => {
    const server = new PeerServer();
    let refusals = 0;
    const remote = connect(server, {
      network: (_request, next, kind) =>
        kind === 'start' && server.sessions.size > 0 && refusals++ < 2 ? refused('handshake_failed') : next(),
    });
    await remote.add(0, 0);
    for (const session of server.sessions.values()) session.ended = true;
    expect(await remote.add(1, 2)).toBe(3);
    expect(refusals).toBe(3);
  });

  it.each([
    ['a pin', { requirePinned: true }, { serverKey: undefined as never }, /pinned serverKey/],
    ['a SecureKey', { requireSecureKey: true }, { secureKey: undefined as never }, /secureKey/],
    ['longer keys', { minKeySize: 32 as const }, { keySize: 16 as const }, /keySize 32/],
  ] as const)(
    'stops where the server states under seal that it requires %s',
    async (_name, policy, options, message) => {
      const server = new PeerServer();
      // the real server refuses by itself; here something let the weaker handshake pass
      server.statedOptions = policy;
      const remote = connect(server, options);
      const error = await remote.add(1, 2).catch((e: unknown) => e);
      expect(error).toBeInstanceOf(PolicyError);
      expect((error as Error).message).toMatch(message);
      expect(server.count('finish')).toBe(0);
    },
  );
});

describe('keySize 0', () => {
  const plain = { keySize: 0, serverKey: undefined as never, secureKey: undefined as never } as const;

  it('calls in plain CBOR without a session', async () => {
    const server = new PeerServer();
    const remote = connect(server, plain);
    expect(await remote.echo(new Map([['a', 1n]]))).toEqual(new Map([['a', 1n]]));
    const [sum, failed] = await remote.$batch((r) => [r.add(1, 2), r.fail()]);
    expect(sum).toEqual({ status: 'fulfilled', value: 3 });
    expect(failed).toMatchObject({ reason: { code: 'policy' } });
    expect(server.seen.map(({ contentType }) => contentType)).toEqual(['application/cbor', 'application/cbor']);
  });

  it('waits for metadata no longer than a call may take', async () => {
    const remote = connect(new PeerServer(), { ...plain, metadata: () => new Promise(() => {}), timeout: 20 });
    await expect(remote.add(1, 2)).rejects.toMatchObject({ code: 'timeout' });
  });

  it('reports a refusal with its code', async () => {
    const remote = connect(new PeerServer(), { ...plain, network: () => refused('encryption_required') });
    await expect(remote.add(1, 2)).rejects.toMatchObject({ code: 'encryption_required' });
  });

  it('does not send a second time what may have run', async () => {
    const network = vi.fn(() => Promise.reject(new Error('connection reset')));
    const remote = connect(new PeerServer(), { ...plain, network });
    await expect(remote.add(1, 2)).rejects.toMatchObject({
      code: 'outcome_unknown',
      cause: { message: 'connection reset' },
    });
    expect(network).toHaveBeenCalledOnce();
  });

  it.each(['unreachable', 'too_large'] as const)('reports %s, which is certain, as that', async (code) => {
    const network = () => Promise.reject(new SealwireError(code));
    await expect(connect(new PeerServer(), { ...plain, network }).add(1, 2)).rejects.toMatchObject({
      name: 'RemoteError',
      code,
    });
  });

  it('ends a call alone whose value cannot be sent', async () => {
    const server = new PeerServer();
    const settled = await connect(server, plain).$batch((r) => [r.echo(() => 1), r.add(1, 2)]);
    expect(settled).toMatchObject([{ reason: { code: 'unsupported_value' } }, { value: 3 }]);
    expect(server.runs).toHaveLength(1);
  });

  it('ends with its time, its signal and $close', async () => {
    const remote = connect(new PeerServer(), { ...plain, network: () => new Promise(() => {}) });
    await expect(remote.$call({ timeout: 20 }).add(1, 2)).rejects.toMatchObject({ code: 'outcome_unknown' });
    const controller = new AbortController();
    const aborted = remote.$call({ signal: controller.signal }).add(1, 2);
    controller.abort(new Error('left'));
    await expect(aborted).rejects.toThrow('left');
    const pending = remote.add(1, 2);
    remote.$close();
    await expect(pending).rejects.toMatchObject({ code: 'closed' });
    await expect(remote.add(1, 2)).rejects.toMatchObject({ code: 'closed' });
  });
});

it('takes a key in the text form that core writes', () => {
  expect(() => createRemote({ url, serverKey: formatKeyText('swp1', new Uint8Array(32).fill(1)) })).not.toThrow();
});
