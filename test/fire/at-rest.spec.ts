import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { callIdentity, frameDigest, fromHex, parseKeyEncryptionKey, parseSecureKey } from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import type pg from 'pg';
import { expect, it, onTestFinished } from 'vitest';
import { PeerClient } from '../support/peer/client.js';
import { privatePostgres } from '../support/private-postgres.js';
import { World } from './world.js';

it('leaves no secret in the database, its files and its log, in whatever form', { timeout: 90_000 }, async () => {
  const postgres = await privatePostgres();
  onTestFinished(() => postgres.end());
  const world = await World.create(postgres.url);
  onTestFinished(() => world.end());
  const { secureKey } = world.client('trace');
  const server = await world.server({ ledger: 'postgres', storedServerKey: true }).start();
  const [pair] = await server.ask<{ publicKey: string; privateKey: string }[]>('serverKeys');
  if (!pair) throw new Error('the store made no server key');
  const serverKey = world.publicText(fromHex(pair.publicKey));
  const session = await PeerClient.open({ url: `${server.url}`, module: 'trace', serverKey, secureKey });
  const before = session.secrets;
  expect(await session.value('echo', 'kept for duplicates of its call')).toBe('kept for duplicates of its call');
  const once = session.seal({ name: 'once', args: ['kept as the outcome'] });
  expect(await session.settle(once)).toMatchObject({
    reply: { outcomes: [{ ok: true, value: 'kept as the outcome' }] },
  });
  await session.value('remember', 'kept in the session');
  session.ratchet();
  expect(await session.value('where')).toBe(server.pid);
  // a clean stop writes out what a server only has in memory
  await server.end('SIGTERM');

  const secrets = {
    earlyClientToServer: before.clientToServer,
    earlyServerToClient: before.serverToClient,
    clientToServer: session.secrets.clientToServer,
    serverToClient: session.secrets.serverToClient,
    renewal: session.secrets.renewal,
    firstKey: session.firstKey,
    secureKey: parseSecureKey(secureKey).secret,
    serverPrivateKey: fromHex(pair.privateKey),
    keyEncryptionKey: parseKeyEncryptionKey(world.keyEncryptionKey).secret,
    result: Buffer.from('kept for duplicates of its call'),
    outcome: Buffer.from('kept as the outcome'),
    data: Buffer.from('kept in the session'),
    // whoever has it may ask for the outcome
    callIdentity: callIdentity(
      nodePrimitives,
      before.renewal,
      { number: once.number, digest: frameDigest(nodePrimitives, once.frame) },
      0,
    ),
  };
  const dump = await dumpOf(world.pool);
  // a dump that lacked the session would hold no secret either
  expect(dump.includes(session.id)).toBe(true);
  expect(dump).toContain(Buffer.from(parseSecureKey(secureKey).keyId).toString('hex'));
  expect(found(secrets, Buffer.from(dump))).toEqual([]);
  const { rows: kept } = await world.pool.query<{ kept: string }>(
    `SELECT (SELECT count(*) FROM sealwire_outcome) || ' ' || (SELECT count(*) FROM sealwire_session WHERE data IS NOT NULL)
       || ' ' || (SELECT count(*) FROM sealwire_accepted WHERE result IS NOT NULL) AS kept`,
  );
  expect(kept).toEqual([{ kept: '1 1 4' }]);

  const { rows } = await world.pool.query<{ folder: string }>(
    "SELECT setting AS folder FROM pg_settings WHERE name = 'data_directory'",
  );
  await world.pool.query('CHECKPOINT');
  const files = Buffer.concat(filesBelow(`${rows[0]?.folder}`));
  expect(files.includes(Buffer.from(session.session.sessionId))).toBe(true);
  expect(found(secrets, files)).toEqual([]);
});

const ALTERATIONS: Record<string, string> = {
  'the traffic secrets of another session': 'traffic = other.traffic',
  'the renewal key of another session': 'renewal = other.renewal',
  'all secrets of another session': 'traffic = other.traffic, renewal = other.renewal, first_key = other.first_key',
  'another module': "module = 'payments'",
  'another epoch': 'epoch = sealwire_session.epoch + 1',
  'another SecureKey': "key_id = '\\x0102030405060708'",
  'another key size': 'key_size = 16',
  'a peer': "peer = '127.0.0.1'",
  'secrets with a bit changed':
    'traffic = set_bit(sealwire_session.traffic, 300, 1 - get_bit(sealwire_session.traffic, 300))',
};

it('refuses a session whose row was altered', { timeout: 120_000 }, async () => {
  const world = await World.create();
  onTestFinished(() => world.end());
  const server = await world.server().start();
  const open = () => PeerClient.open({ url: `${server.url}`, ...world.client('trace') });
  const other = await open();
  const untouched = await open();
  const altered = await Promise.all(
    Object.entries(ALTERATIONS).map(async ([name, set]) => {
      const session = await open();
      const changed = await world.pool.query(
        `UPDATE sealwire_session SET ${set} FROM sealwire_session other WHERE sealwire_session.id = $1 AND other.id = $2`,
        [Buffer.from(session.session.sessionId), Buffer.from(other.session.sessionId)],
      );
      expect(changed.rowCount).toBe(1);
      return { name, session };
    }),
  );
  await server.end();
  const { url } = await world.server().start();

  for (const { name, session } of altered) {
    for (const module of ['trace', 'payments']) {
      const answer = await session.settle(session.seal({ name: 'record', args: [name] }), url, 10_000, module);
      expect(answer, `${name}, ${module}`).toEqual({ kind: 'outer', status: 409, code: 'session_unknown' });
    }
  }
  const answer = await untouched.settle(untouched.seal({ name: 'record', args: ['untouched'] }), url);
  expect(answer).toMatchObject({ kind: 'sealed', reply: { status: 'lane_moved' } });
  expect([...world.runs()]).toEqual([]);
});

async function dumpOf(pool: pg.Pool): Promise<string> {
  const tables = await pool.query<{ name: string }>(
    "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')",
  );
  const parts: string[] = [];
  for (const { name } of tables.rows) {
    const { rows } = await pool.query<{ row: string }>(`SELECT t::text AS row FROM ${name} t`);
    parts.push(name, ...rows.map(({ row }) => row));
  }
  return parts.join('\n');
}

function filesBelow(folder: string): Buffer[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name)));
}

/** The names of those that occur: as bytes, in hexadecimal, in base64 at every offset, and so as base64url too. */
function found(secrets: Record<string, Uint8Array>, where: Buffer): string[] {
  const lower = Buffer.from(where.toString('latin1').toLowerCase(), 'latin1');
  return Object.entries(secrets).flatMap(([name, secret]) => {
    const bytes = Buffer.from(secret);
    const base64 = [0, 1, 2].flatMap((shift) => {
      // whole groups of three bytes only: what stands around changes the letters at both ends
      const aligned = bytes.subarray(shift, shift + Math.floor((bytes.length - shift) / 3) * 3);
      return [aligned.toString('base64'), aligned.toString('base64url')];
    });
    const occurs =
      where.includes(bytes) || lower.includes(bytes.toString('hex')) || base64.some((text) => where.includes(text));
    return occurs ? [name] : [];
  });
}
