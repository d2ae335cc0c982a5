import { type ExecFileOptions, execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { parseKeyEncryptionKey, parseSecureKey, parseServerPrivateKey, parseServerPublicKey } from '@sealwire/core';
import { createTypeOrmStore } from '@sealwire/typeorm';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { TcpProxy } from '../../../../test/support/tcp-proxy.js';
import { run } from '../../src/cli/index.js';
import {
  connect,
  emptyTables,
  type Instance,
  kek,
  nextKek,
  openPostgres,
  openSession,
  primitives,
  startInstance,
  type TestDatabase,
} from '../support.js';

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const ROOT = fileURLToPath(new URL('../../../..', import.meta.url));

/** The command in a process of its own. */
function spawned(args: string[], options: ExecFileOptions = {}) {
  const all = ['--import', '@oxc-node/core/register', MAIN, ...args];
  return promisify(execFile)(process.execPath, all, { cwd: ROOT, ...options });
}

async function sealwire(line: string, env: Record<string, string | undefined> = {}) {
  const out: string[] = [];
  const errors: string[] = [];
  const code = await run(line.split(' ').filter(Boolean), env, {
    out: (text) => out.push(text),
    error: (text) => errors.push(text),
  });
  return { code, out: out.join('\n'), error: errors.join('\n') };
}

describe('sealwire without a database', () => {
  it('makes keys of each kind', async () => {
    const { code, out } = await sealwire('keygen --json');
    const made = JSON.parse(out);
    expect(code).toBe(0);
    expect(Buffer.from(parseSecureKey(made.secureKey).keyId).toString('hex')).toBe(made.keyId);
    expect(parseKeyEncryptionKey(made.kek).secret).toHaveLength(32);
    const pair = parseServerPrivateKey(made.serverKey, primitives);
    expect(parseServerPublicKey(made.serverPublicKey)).toEqual(pair.publicKey);
    expect(JSON.parse((await sealwire('keygen --json')).out).kek).not.toBe(made.kek);
  });

  it('names the parts of a frame, without a key', async () => {
    const { code, out } = await sealwire(
      `decode 11010007${'ab'.repeat(16)}0000000200000102${'cd'.repeat(8)}${'00'.repeat(80)}`,
    );
    expect(code).toBe(0);
    expect(out).toMatch(/^call, 116 bytes$/m);
    expect(out).toMatch(/^ +3 +1 {2}epoch +7$/m);
    expect(out).toMatch(/^ +4 +16 {2}session id +(ab){16}$/m);
    expect(out).toMatch(/^ +24 +4 {2}counter +258$/m);
    expect(out).toMatch(/^ +36 +64 {2}sealed$\n +100 +16 {2}tag$/m);
    expect((await sealwire('decode 7b7d')).error).toContain('This is no frame');
    expect((await sealwire('decode /nowhere/frame.bin')).code).toBe(1);
    expect((await sealwire('decode')).code).toBe(2);
  });

  it('makes one key in a form for an environment file', async () => {
    const { out } = await sealwire('keygen kek');
    const text = /^SEALWIRE_KEK=(\S+)$/m.exec(out)?.[1] ?? '';
    expect(parseKeyEncryptionKey(text).id).toHaveLength(4);
    expect(out).not.toContain('SECURE_KEY');
  });

  it.each([
    ['', 2],
    ['help', 0],
    ['--help', 0],
    ['revoke --help', 0],
    ['nonsense', 2],
    ['keygen passphrase', 2],
    ['keygen --loud', 2],
    ['keys', 2],
    ['keys add', 2],
    ['sessions', 2],
    ['sessions list --limit 0', 2],
    ['sessions list --key abc', 2],
    ['sessions count --key 0011223344556677 --module payments', 2],
    ['revoke', 2],
    ['revoke --all --module payments', 2],
    ['revoke 1234', 2],
    ['rotate', 2],
    ['rotate server-key', 2],
    ['rotate server-key --valid-until tomorrow', 2],
    ['rotate server-key --valid-until 7', 2],
    ['rotate server-key --valid-until 2100-01-31', 2],
    ['rotate server-key --valid-until 2100-02-30T00:00:00Z', 2],
    ['rotate server-key --valid-until 2100-13-01T00:00:00Z', 2],
    ['rotate server-key --valid-until 2020-01-31T00:00:00Z', 2],
    ['rotate server-key --module payments --valid-until 2100-01-01T00:00:00Z', 2],
    ['rotate secure-key --valid-until 2100-01-01T00:00:00Z', 2],
    ['rotate kek --valid-until 2100-01-01T00:00:00Z', 2],
    ['sessions count --limit 5', 2],
    ['purge', 2],
    ['purge --tombstone-seconds 86400', 2],
    ['purge --tombstone-seconds 86400 --outcome-seconds week', 2],
    ['purge all', 2],
  ])('answers "%s" with its usage and exit code %i', async (line, code) => {
    const answer = await sealwire(line);
    expect(answer.code).toBe(code);
    expect(answer.out + answer.error).toContain('Usage:');
  });

  it('says what is missing in the environment', async () => {
    const nothing = await sealwire('sessions count');
    expect(nothing).toMatchObject({ code: 1, out: '' });
    expect(nothing.error).toMatch(/DATABASE_URL is missing.*PGlite/);
    expect((await sealwire('sessions count', { DATABASE_URL: 'postgres://127.0.0.1:1/x' })).error).toMatch(
      /SEALWIRE_KEK is missing/,
    );
    const unreachable = await sealwire('sessions count', {
      DATABASE_URL: 'postgres://127.0.0.1:1/x',
      SEALWIRE_KEK: kek,
    });
    expect(unreachable).toMatchObject({ code: 1, error: expect.stringContaining('ECONNREFUSED') });
  });

  it('runs as a command', async () => {
    expect((await spawned(['keygen', 'secure-key'])).stdout).toMatch(/^SEALWIRE_SECURE_KEY=swk1\./m);
    await expect(spawned(['revoke'])).rejects.toMatchObject({ code: 2 });
  });
});

describe('sealwire on PostgreSQL', () => {
  let database: TestDatabase;
  let instance: Instance;
  const env = () => ({ DATABASE_URL: database.url, SEALWIRE_KEK: kek });
  const json = async (line: string, more = {}) => {
    const answer = await sealwire(`${line} --json`, { ...env(), ...more });
    return { ...answer, value: answer.out ? JSON.parse(answer.out) : undefined };
  };

  beforeAll(async () => {
    database = await openPostgres();
  });
  afterAll(async () => {
    await instance?.sessions.stop();
    await database?.close();
  });
  beforeEach(async () => {
    await instance?.sessions.stop();
    await emptyTables(database.dataSource);
    instance = await startInstance(database.dataSource);
  });

  it('lists and counts sessions', async () => {
    const keyId = primitives.random(8);
    const key = Buffer.from(keyId).toString('hex');
    const { id } = await openSession(instance, { keyId, peer: '10.0.0.1' });
    await openSession(instance, { module: 'public', keyId: undefined });
    expect((await json('sessions count')).value).toEqual({ count: 2 });
    expect((await json(`sessions count --key ${key}`)).value).toEqual({ count: 1 });
    const listed = await json(`sessions list --key ${key}`);
    expect(listed.value).toMatchObject([{ id: Buffer.from(id).toString('hex'), keyId: key, peer: '10.0.0.1' }]);
    const page = await json('sessions list --limit 1');
    const next = await json(`sessions list --limit 1 --after ${page.value[0].id}`);
    expect(next.value).toHaveLength(1);
    expect(next.value[0].id > page.value[0].id).toBe(true);
    expect((await sealwire(`sessions list --module public`, env())).out).toMatch(/public {2}no SecureKey/);
    expect((await sealwire(`sessions list --module none`, env())).out).toBe('no sessions');
  });

  it('revokes, and returns when running servers know', async () => {
    const { id } = await openSession(instance);
    const line = `revoke ${Buffer.from(id).toString('hex')}`;
    expect(await json(line)).toMatchObject({ code: 0, value: { revoked: 1, everywhere: true } });
    expect(instance.listener.ends).toEqual([{ id, reason: 'revoked' }]);
    expect(await json(line)).toMatchObject({ code: 1, value: { revoked: 0 } });
    const { keyId } = await openSession(instance);
    const byKey = await json(`revoke --key ${Buffer.from(keyId!).toString('hex')}`);
    expect(byKey.value).toEqual({ revoked: 1, keyRefused: false, everywhere: true });
    expect(instance.listener.ends.at(-1)?.reason).toBe('secure_key_revoked');
    await openSession(instance);
    await openSession(instance, { module: 'public' });
    expect((await json('revoke --module public')).value.revoked).toBe(1);
    expect((await sealwire('revoke --all', env())).out).toBe('1 session revoked');
  });

  it('says what became of a SecureKey, and fails where nothing was revoked', async () => {
    const nowhere = await sealwire('revoke --key 0011223344556677', env());
    expect(nowhere).toMatchObject({ code: 1, out: expect.stringContaining('not in the database: take it out of') });
    const { keyId } = (await json('keys add --module orders')).value;
    const { keyId: other } = (await json('keys add --module orders')).value;
    const first = await sealwire(`revoke --key ${keyId}`, env());
    expect(first).toMatchObject({ code: 0, out: '0 sessions revoked; the key is refused from now on' });
    const last = await sealwire(`revoke --key ${other}`, env());
    expect(last).toMatchObject({
      code: 0,
      out: expect.stringMatching(/from now on; .*last .* 'orders'.* stay refused/),
    });
    const again = await sealwire(`revoke --key ${other}`, env());
    expect(again).toMatchObject({
      code: 1,
      out: expect.stringMatching(/^0 sessions revoked; the key is refused since/),
    });
    expect((await json(`revoke --key ${other}`)).value).toMatchObject({ revoked: 0, keyRefused: true });
  });

  it('says so where a server does not answer in 3 seconds', async () => {
    const other = await connect(database.url);
    await openSession(instance);
    await other.query(
      `INSERT INTO sealwire_instance VALUES ('mute', now() + interval '1 minute', now() - interval '1 minute')`,
    );
    const { code, out } = await sealwire('revoke --all', env());
    expect(code).toBe(1);
    expect(out).toMatch(/a server has not answered yet/);
    await other.destroy();
  });

  it('rotates the server key and SecureKeys', async () => {
    const [old] = await instance.keys.serverKeys();
    const until = '2100-01-01T00:00:00.000Z';
    const server = await json(`rotate server-key --valid-until ${until}`);
    const { keys } = createTypeOrmStore(database.dataSource, { kek });
    const pairs = await keys.serverKeys();
    expect(pairs.map(({ publicKey }) => publicKey)).toEqual([
      parseServerPublicKey(server.value.serverPublicKey),
      old!.publicKey,
    ]);
    const none = await sealwire(`rotate secure-key --module paymnets --valid-until ${until}`, env());
    expect(none).toMatchObject({ code: 1, error: expect.stringContaining('no SecureKey to rotate') });
    await json('keys add --module public');
    await json('keys add --module payments');
    const secure = await json(`rotate secure-key --module payments --valid-until ${until}`);
    expect((await json('keys list --module payments')).value).toMatchObject([
      { module: 'payments' },
      { module: 'payments', validUntil: until },
    ]);
    const { keyId, secret } = parseSecureKey(secure.value.secureKey);
    expect(await keys.secureKey('payments', keyId)).toEqual(secret);
    const missing = await sealwire(
      `rotate secure-key --module payments --key ${'00'.repeat(8)} --valid-until ${until}`,
      env(),
    );
    expect(missing).toMatchObject({ code: 1, error: expect.stringContaining('no such SecureKey') });
  });

  it('rotates the key-encryption key', async () => {
    await openSession(instance);
    await instance.keys.serverKeys();
    const early = await sealwire('rotate kek', { ...env(), SEALWIRE_KEK: `${nextKek},${kek}` });
    expect(early).toMatchObject({ code: 1, error: expect.stringContaining('does not hold its first key 08080808') });
    await instance.sessions.stop();
    const lost = await json('rotate kek', { SEALWIRE_KEK: nextKek });
    expect(lost).toMatchObject({ code: 1, value: { rewrapped: 0, unreadable: 3 } });
    const done = await json('rotate kek', { SEALWIRE_KEK: `${nextKek},${kek}` });
    expect(done).toMatchObject({ code: 0, value: { rewrapped: 3, unreadable: 0 } });
    const again = await sealwire('rotate kek', { ...env(), SEALWIRE_KEK: nextKek });
    expect(again.out).toMatch(/^0 rows wrapped anew\nOnce every server has the first key/);
    const before = await sealwire('keys add --module payments', env());
    expect(before).toMatchObject({
      code: 1,
      error: expect.stringContaining('The servers do not use this SEALWIRE_KEK'),
    });
  });

  it('purges', async () => {
    await openSession(instance);
    await database.dataSource.query(
      `UPDATE sealwire_session SET ended_at = now() - interval '2 days', ended_reason = 'idle'`,
    );
    const times = (outcome: number) => `purge --tombstone-seconds 86400 --outcome-seconds ${outcome}`;
    expect((await sealwire(times(604_800), env())).out).toBe('1 row deleted');
    const call = {
      ...{ module: 'm', session: undefined, claimed: undefined, name: 'f' },
      ...{ callId: primitives.random(16), digest: primitives.random(32) },
    };
    await instance.exactlyOnce.run(call, async () => ({ outcome: Uint8Array.of(1), rollback: false }));
    await database.dataSource.query(`UPDATE sealwire_outcome SET at = now() - interval '8 days'`);
    expect((await sealwire(times(30 * 86_400), env())).out).toBe('0 rows deleted');
    expect((await sealwire(times(604_800), env())).out).toBe('1 row deleted');
  });

  // the word stands in the last answer that comes
  it.each([
    ['once it let the command in', 'server_version'],
    ['after some answers', 'there'],
  ])('ends with an error where the database falls silent %s', { timeout: 60_000 }, async (_when, word) => {
    let silent = false;
    const proxy = await TcpProxy.start(database.url, (chunk) => {
      if (silent) return Buffer.alloc(0);
      silent = chunk.includes(word);
      // nor does a goodbye reach it
      if (silent) setImmediate(() => proxy.freeze());
      return chunk;
    });
    onTestFinished(() => proxy.close());
    const listing = spawned(['keys', 'list'], {
      env: { ...process.env, ...env(), DATABASE_URL: proxy.url },
      timeout: 40_000,
    });
    await expect(listing).rejects.toMatchObject({ code: 1, killed: false });
  });

  it('says where the tables are missing', async () => {
    const url = new URL(database.url);
    url.pathname = '/postgres';
    const missing = await sealwire('sessions count', { ...env(), DATABASE_URL: url.href });
    expect(missing).toMatchObject({ code: 1, error: expect.stringContaining('run the migrations') });
  });
});
