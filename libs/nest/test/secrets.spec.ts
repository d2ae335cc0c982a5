import { inspect } from 'node:util';
import { type INestApplication, Injectable } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { generateKeyText, parseCall, parseKeyText, toHex } from '@sealwire/core';
import {
  type Injected,
  KeyRing,
  RemoteFunction,
  RemoteFunctionError,
  RemoteFunctions,
  RemoteSession,
  SealwireEvents,
  SealwireHealthIndicator,
  SealwireModule,
  SealwireSessions,
  SessionStore,
} from '@sealwire/nest';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { limits, newSession, secrets } from '../../typeorm/test/support.js';
import type { Row, Session } from '../src/sessions/index.js';
import { type EpochSecrets, MemoryStore, pooled, Sessions } from '../src/sessions/index.js';
import { paymentsClient, startApplication } from './application.js';
import { only, PeerClient, post, primitives, serverKey, serverKeyText, urlOf } from './support.js';

let app: INestApplication;
afterEach(async () => {
  vi.useRealTimers();
  await app?.close();
});

const shown: RemoteSession[] = [];

@RemoteFunctions('vault')
@Injectable()
class Vault {
  @RemoteFunction()
  async show(@RemoteSession() session: Injected<RemoteSession>): Promise<string> {
    await session.set('name', 'value');
    shown.push(session);
    return inspect(session, { depth: 20, showHidden: true }) + JSON.stringify(session);
  }
}

/** Every value that can be reached: own properties, getters of prototypes, symbols, entries of collections. */
function* reachable(root: unknown, seen = new Set<unknown>()): Generator<unknown> {
  if (root === null || root === undefined || seen.has(root)) return;
  seen.add(root);
  yield root;
  if (typeof root !== 'object' && typeof root !== 'function') return;
  if (root instanceof Uint8Array) return;
  if (root instanceof Map || root instanceof Set) for (const entry of [...root]) yield* reachable(entry, seen);
  for (
    let holder: object | null = root;
    holder && holder !== Object.prototype;
    holder = Object.getPrototypeOf(holder)
  ) {
    for (const name of Reflect.ownKeys(holder)) {
      const descriptor = Object.getOwnPropertyDescriptor(holder, name);
      try {
        yield* reachable(descriptor?.get ? descriptor.get.call(root) : descriptor?.value, seen);
      } catch {
        // a getter that needs another receiver
      }
    }
  }
}

describe('what reaches applications hides', () => {
  it('every secret that it was made with, to any depth and however it is written', async () => {
    const secureKeyText = generateKeyText('swk1', primitives);
    const module = await Test.createTestingModule({
      imports: [
        SealwireModule.forRoot({ serverKey: serverKeyText }),
        SealwireModule.forFeature({ path: 'vault', secureKeys: [secureKeyText] }),
      ],
      providers: [Vault],
    }).compile();
    app = module.createNestApplication();
    app.useLogger(false);
    await app.listen(0, '127.0.0.1');
    const bytes = parseKeyText('swk1', secureKeyText);
    const secureKey = { keyId: bytes.slice(0, 8), secret: bytes.slice(8) };
    const config = { modulePath: 'vault', keySize: 32, serverKey: serverKey.publicKey, secureKey } as const;
    const client = new PeerClient(urlOf(app, '/remote/vault'), config);
    await client.connect();
    const text = String(only(await client.call('show')));
    const { clientToServer, serverToClient, renewal } = client.session.secrets;
    const hidden = [serverKey.privateKey, secureKey.secret, clientToServer, serverToClient, renewal].map(toHex);
    const texts = [serverKeyText, secureKeyText, toHex(serverKey.privateKey)];
    const given = [
      ...[SealwireEvents, SealwireSessions, SealwireHealthIndicator, KeyRing].map((token) => app.get<object>(token)),
      ...shown,
      new RemoteFunctionError('code', 'message', { detail: 1 }),
    ];
    expect(shown).toHaveLength(1);
    for (const one of given) {
      for (const value of reachable(one)) {
        if (value instanceof Uint8Array) expect(hidden).not.toContain(toHex(value));
        if (typeof value === 'string') expect(texts).not.toContain(value);
        // nothing leads into the server
        expect(value instanceof Sessions || value instanceof SessionStore).toBe(false);
      }
      const written = inspect(one, { depth: 20, showHidden: true }) + JSON.stringify(one);
      for (const secret of [...hidden, ...texts]) expect(written).not.toContain(secret);
    }
    expect(text).toContain('vault');
    expect(text).not.toMatch(/secret|clientToServer|renewal/i);
  });
});

describe('keys are erased', () => {
  async function connected() {
    app = await startApplication({ options: { hotSessions: 1 } });
    const client = paymentsClient(app);
    await client.connect();
    const sessions = app.get(Sessions, { strict: false });
    const session = sessions.held(client.session.sessionId) as Session;
    const frame = client.frame([{ name: 'add', args: [1] }]);
    const opened = () => session.open(parseCall(frame)).secrets as EpochSecrets;
    return { client, sessions, session, keys: opened() };
  }
  const zero = '00'.repeat(32);
  const held = (keys: EpochSecrets) => [toHex(keys.clientToServer), toHex(keys.serverToClient)];

  it('from a buffer in which others lie, whose places are not theirs before or after', () => {
    const given = Array.from({ length: 1_000 }, (_, index) => {
      const secrets = Array.from({ length: 1 + (index % 3) }, () => primitives.random(32));
      return { secrets, copy: pooled(...secrets) };
    });
    const [odd, even] = [given.filter((_, index) => index % 2 === 1), given.filter((_, index) => index % 2 === 0)];
    for (const { copy } of odd) copy.fill(0);
    const later = Array.from({ length: 1_000 }, () => pooled(primitives.random(32)));
    for (const { copy } of odd) expect(copy.every((byte) => byte === 0)).toBe(true);
    for (const { secrets, copy } of even) expect(toHex(copy)).toBe(secrets.map(toHex).join(''));
    const ends = new Map<ArrayBufferLike, number>();
    for (const { buffer, byteOffset, byteLength } of [...given.map(({ copy }) => copy), ...later]) {
      expect(byteOffset).toBeGreaterThanOrEqual(ends.get(buffer) ?? 0);
      ends.set(buffer, byteOffset + byteLength);
    }
    expect(ends.size).toBeGreaterThan(10);
  });

  it('where a session goes elsewhere, or what is cached of it is given up', async () => {
    const { sessions, session, keys } = await connected();
    expect(held(keys)).not.toContain(zero);
    const { renewal } = session;
    const other = paymentsClient(app);
    await other.connect();
    expect([...held(keys), toHex(renewal)]).toEqual([zero, zero, zero]);
    const second = sessions.held(other.session.sessionId) as Session;
    const { renewal: another } = second;
    sessions.discard(second);
    expect(toHex(another)).toBe(zero);
  });

  it('not before the last call is out', async () => {
    const { client, sessions, session, keys } = await connected();
    session.enter();
    const released = sessions.release(client.session.sessionId);
    expect(held(keys)).not.toContain(zero);
    session.leave();
    await released;
    expect(held(keys)).toEqual([zero, zero]);
  });

  it('60 seconds after an end, here and in the memory store', async () => {
    const { client, keys } = await connected();
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date', 'performance'] });
    await app.get(SealwireSessions).revokeAll();
    vi.advanceTimersByTime(59_000);
    expect(held(keys)).not.toContain(zero);
    vi.advanceTimersByTime(2_000);
    expect(held(keys)).toEqual([zero, zero]);
    vi.useRealTimers();
    expect((await post(client.url, client.frame([{ name: 'add', args: [1] }]))).code).toBe('session_unknown');
  });

  it('of a session of the memory store whose keys nobody else has', async () => {
    const store = new MemoryStore(primitives);
    const session = newSession();
    await store.create(session, limits);
    await store.activate(session.id, secrets());
    const { rows } = store as unknown as { rows: Map<string, Row> };
    const { clientToServer, serverToClient, renewal } = [...rows.values()][0]!.secrets!;
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date', 'performance'] });
    await store.end({ id: session.id }, 'revoked');
    expect((await store.find(session.id))?.ended).toBe('revoked');
    vi.advanceTimersByTime(60_000);
    expect([toHex(clientToServer), toHex(serverToClient)]).toEqual([zero, zero]);
    // it still proves the session, for a renewal
    expect(toHex(renewal)).not.toBe(zero);
    expect(await store.find(session.id)).toBeUndefined();
    vi.advanceTimersByTime(600_000);
    await store.purge();
    expect(toHex(renewal)).toBe(zero);
  });
});
