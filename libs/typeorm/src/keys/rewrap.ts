import { toHex } from '@sealwire/core';
import { type Database, toBytes } from '../connection/database.js';
import { SESSION_COLUMNS, type SessionRow, SessionWrap } from '../sessions/session-row.js';
import type { KeyEncryption, Place } from './key-encryption.js';
import { cookieKeyPlace, keyPlace, outcomePlace, replyPlace } from './places.js';

export interface RewrapResult {
  readonly rewrapped: number;
  /** rows that no key-encryption key of ours opens: altered, or wrapped by one that is not in SEALWIRE_KEK */
  readonly unreadable: number;
}

/** Of one statement. Where a row alone has more it is alone. */
const BYTES = 1_048_576;
/** KEK id and salt: tell a wrap from every other, so that a long one need not be sent whole to be compared */
const HEAD = 20;

interface SecretTable<Row> {
  /** rows not wrapped by the KEK $1, after the key $2 (null at first), at most $3; none when all are done */
  readonly select: string;
  /** what $2 is for the rows after this one */
  after(row: Row): string;
  /** writes rows, given as one array for each of their values, where they still are as they were read */
  readonly update: string;
  /** one row's values for `update`: its key, what is new, what was there */
  rewrap(row: Row): readonly unknown[];
}

/**
 * Brings every row under the current key-encryption key, batch by batch, each in one statement. A row is done or not, so
 * breaking off loses nothing and the next run goes on with the rest. A row that a server wrote meanwhile is left to it.
 */
export async function rewrap(database: Database, keys: KeyEncryption, batch = 500): Promise<RewrapResult> {
  let rewrapped = 0;
  let unreadable = 0;
  for (const table of tables(keys)) {
    let after: string | null = null;
    for (;;) {
      const rows: never[] = await database.query(table.select, [keys.currentId, after, batch]);
      const updates = rows.flatMap((row) => {
        try {
          return [table.rewrap(row)];
        } catch {
          unreadable++;
          return [];
        }
      });
      const columns = updates[0]?.map((_, column) => updates.map((values) => values[column]));
      if (columns) rewrapped += (await database.query(`${table.update} RETURNING 1`, columns)).length;
      const last = rows.at(-1);
      if (!last) break;
      after = table.after(last);
    }
  }
  return { rewrapped, unreadable };
}

function tables(keys: KeyEncryption): SecretTable<never>[] {
  const wrap = new SessionWrap(keys);
  const move = (place: Place, wrapped: Uint8Array) => keys.wrap(place, keys.unwrap(place, toBytes(wrapped)));

  const sessions: SecretTable<SessionRow> = {
    select: `SELECT ${SESSION_COLUMNS} FROM sealwire_session s
      WHERE (substr(s.proof, 1, 4) <> $1 OR substr(s.traffic, 1, 4) <> $1 OR substr(s.exporter, 1, 4) <> $1)
        AND ($2::text IS NULL OR s.id > decode($2, 'hex')) ORDER BY s.id LIMIT $3`,
    after: (row) => toHex(row.id),
    update: `UPDATE sealwire_session s SET traffic = n.traffic, exporter = n.exporter, proof = n.proof
      FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::bytea[], $5::bytea[], $6::bytea[], $7::bytea[])
        AS n(id, traffic, exporter, proof, old_traffic, old_exporter, old_proof)
      WHERE s.id = n.id AND s.traffic IS NOT DISTINCT FROM n.old_traffic
        AND s.exporter IS NOT DISTINCT FROM n.old_exporter AND s.proof = n.old_proof`,
    rewrap(row) {
      const { traffic, exporter, proof } = wrap.again(row);
      return [row.id, traffic, exporter, proof, row.traffic, row.exporter, row.proof];
    },
  };

  const replies: SecretTable<{ id: Buffer; lane: number; counter: number; reply: Buffer }> = {
    select: upToBytes(
      'reply',
      'id, lane, counter',
      `SELECT session_id AS id, lane::float8 AS lane, counter::float8 AS counter, reply
       FROM sealwire_accepted WHERE reply IS NOT NULL AND substr(reply, 1, 4) <> $1
         AND ($2::text IS NULL OR (session_id, lane, counter) >
           (decode($2::json->>0, 'hex'), ($2::json->>1)::bigint, ($2::json->>2)::bigint))
       ORDER BY session_id, lane, counter LIMIT $3`,
    ),
    after: (row) => JSON.stringify([toHex(row.id), row.lane, row.counter]),
    update: `UPDATE sealwire_accepted a SET reply = n.reply
      FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bytea[], $5::bytea[]) AS n(id, lane, counter, reply, old)
      WHERE a.session_id = n.id AND a.lane = n.lane AND a.counter = n.counter AND substr(a.reply, 1, ${HEAD}) = n.old`,
    rewrap: ({ id, lane, counter, reply }) => [
      ...[id, lane, counter],
      ...[move(replyPlace(toBytes(id), lane, counter), reply), reply.subarray(0, HEAD)],
    ],
  };

  const outcomes: SecretTable<{ module: string; key_id: Buffer; call_id: Buffer; outcome: Buffer }> = {
    select: upToBytes(
      'outcome',
      'module, key_id, call_id',
      `SELECT module, key_id, call_id, outcome FROM sealwire_outcome
       WHERE substr(outcome, 1, 4) <> $1 AND ($2::text IS NULL OR (module, key_id, call_id) >
         ($2::json->>0, decode($2::json->>1, 'hex'), decode($2::json->>2, 'hex')))
       ORDER BY module, key_id, call_id LIMIT $3`,
    ),
    after: (row) => JSON.stringify([row.module, toHex(row.key_id), toHex(row.call_id)]),
    update: `UPDATE sealwire_outcome o SET outcome = n.outcome
      FROM unnest($1::text[], $2::bytea[], $3::bytea[], $4::bytea[], $5::bytea[]) AS n(module, key_id, call_id, outcome, old)
      WHERE o.module = n.module AND o.key_id = n.key_id AND o.call_id = n.call_id AND substr(o.outcome, 1, ${HEAD}) = n.old`,
    rewrap: ({ module, key_id, call_id, outcome }) => [
      ...[module, key_id, call_id],
      ...[move(outcomePlace(module, toBytes(key_id), toBytes(call_id)), outcome), outcome.subarray(0, HEAD)],
    ],
  };

  const lasting: SecretTable<{
    kind: 'server' | 'secure' | 'incarnation';
    module: string;
    id: Buffer;
    wrapped: Buffer;
  }> = {
    select: `SELECT kind, module, id, wrapped FROM sealwire_key
      WHERE substr(wrapped, 1, 4) <> $1 AND ($2::text IS NULL OR (kind, module, id) > ($2::json->>0, $2::json->>1,
        decode($2::json->>2, 'hex'))) ORDER BY kind, module, id LIMIT $3`,
    after: (row) => JSON.stringify([row.kind, row.module, toHex(row.id)]),
    update: `UPDATE sealwire_key k SET wrapped = n.wrapped
      FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bytea[], $5::bytea[]) AS n(kind, module, id, wrapped, old)
      WHERE k.kind = n.kind AND k.module = n.module AND k.id = n.id AND k.wrapped = n.old`,
    rewrap: ({ kind, module, id, wrapped }) => [
      ...[kind, module, id],
      ...[move(keyPlace(kind, module, toBytes(id)), wrapped), wrapped],
    ],
  };

  /** They live for minutes, but handshakes that are under way need theirs when the old key-encryption key goes. */
  const cookies: SecretTable<{ id: Buffer; wrapped: Buffer }> = {
    select: `SELECT id, wrapped FROM sealwire_cookie_key
      WHERE substr(wrapped, 1, 4) <> $1 AND ($2::text IS NULL OR id > decode($2, 'hex')) ORDER BY id LIMIT $3`,
    after: (row) => toHex(row.id),
    update: `UPDATE sealwire_cookie_key k SET wrapped = n.wrapped
      FROM unnest($1::bytea[], $2::bytea[], $3::bytea[]) AS n(id, wrapped, old) WHERE k.id = n.id AND k.wrapped = n.old`,
    rewrap: ({ id, wrapped }) => [id, move(cookieKeyPlace(toBytes(id)), wrapped), wrapped],
  };
  return [sessions, replies, outcomes, lasting, cookies] as unknown as SecretTable<never>[];
}

/** The first of the rows, in that order, until their `column` has enough bytes. */
function upToBytes(column: string, order: string, rows: string): string {
  return `SELECT * FROM (SELECT r.*, sum(octet_length(${column})) OVER (ORDER BY ${order}) AS bytes FROM (${rows}) r) s
    WHERE bytes - octet_length(${column}) < ${BYTES} ORDER BY ${order}`;
}
