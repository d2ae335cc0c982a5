import { toHex } from '@sealwire/core';
import { type Database, toBytes } from '../connection/database.js';
import { SessionWrap, type WrappedSession } from '../sessions/session-row.js';
import type { KeyEncryption, Place } from './key-encryption.js';
import { cookieKeyPlace, dataPlace, keyPlace, outcomePlace } from './places.js';

/** How many rows a change of the key-encryption key has reached. */
export interface RewrapResult {
  readonly rewrapped: number;
  /** rows that no key-encryption key of ours opens: altered, or wrapped by one that is not in SEALWIRE_KEK */
  readonly unreadable: number;
}

/** Bytes of one statement. A row that has more by itself is alone in its statement. */
const BYTES = 1_048_576;
/** KEK id and salt: tell a wrap from every other, so that a long one need not be sent whole to be compared */
const HEAD = 20;

interface SecretTable<Row> {
  /** rows not wrapped by the KEK $1, after the key $2 (null at first), at most $3; none when all are done */
  readonly select: string;
  /** what $2 is for the rows after this one */
  after(row: Row): string;
  /** writes rows, given as one array for each of their values, if they still are as they were read */
  readonly update: string;
  /** one row's values for `update`: its key, what is new, what was there */
  rewrap(row: Row): readonly unknown[];
}

/**
 * Brings every row under the current key-encryption key, batch by batch, each in one statement. A row is done or not, so
 * breaking off loses nothing and the next run goes on with the rest. A row that a server wrote meanwhile stays as the server wrote it.
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
  const move = (place: Place, wrapped: Uint8Array) => keys.wrap(place, keys.unwrap(place, toBytes(wrapped)));

  const sessions: SecretTable<WrappedSession> = {
    select: `SELECT id, module, key_id, key_size, peer, epoch, traffic, first_key, renewal FROM sealwire_session
      WHERE (substr(first_key, 1, 4) <> $1 OR substr(renewal, 1, 4) <> $1 OR substr(traffic, 1, 4) <> $1)
        AND ($2::text IS NULL OR id > decode($2, 'hex')) ORDER BY id LIMIT $3`,
    after: (row) => toHex(row.id),
    update: `UPDATE sealwire_session s SET traffic = n.traffic, first_key = n.first_key, renewal = n.renewal
      FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::bytea[], $5::bytea[], $6::bytea[], $7::bytea[])
        AS n(id, traffic, first_key, renewal, old_traffic, old_first_key, old_renewal)
      WHERE s.id = n.id AND s.traffic IS NOT DISTINCT FROM n.old_traffic
        AND s.first_key IS NOT DISTINCT FROM n.old_first_key AND s.renewal IS NOT DISTINCT FROM n.old_renewal`,
    rewrap(row) {
      const secrets = SessionWrap.places(row);
      return [
        row.id,
        ...secrets.map(({ place, wrapped }) => wrapped && move(place, wrapped)),
        ...secrets.map(({ wrapped }) => wrapped),
      ];
    },
  };

  const data: SecretTable<{ id: Buffer; version: number; data: Buffer }> = {
    select: upToBytes(
      'data',
      'id',
      `SELECT id, data_version AS version, data FROM sealwire_session
       WHERE data IS NOT NULL AND substr(data, 1, 4) <> $1 AND ($2::text IS NULL OR id > decode($2, 'hex'))
       ORDER BY id LIMIT $3`,
    ),
    after: (row) => toHex(row.id),
    update: `UPDATE sealwire_session s SET data = n.data
      FROM unnest($1::bytea[], $2::bytea[], $3::bytea[]) AS n(id, data, old)
      WHERE s.id = n.id AND substr(s.data, 1, ${HEAD}) = n.old`,
    rewrap: ({ id, version, data: wrapped }) => [
      ...[id, move(dataPlace(toBytes(id), version), wrapped), wrapped.subarray(0, HEAD)],
    ],
  };

  const outcomes: SecretTable<{ module: string; call: Buffer; binding: Buffer; outcome: Buffer }> = {
    select: upToBytes(
      'outcome',
      'module, call',
      `SELECT module, call, binding, outcome FROM sealwire_outcome
       WHERE substr(outcome, 1, 4) <> $1
         AND ($2::text IS NULL OR (module, call) > ($2::json->>0, decode($2::json->>1, 'hex')))
       ORDER BY module, call LIMIT $3`,
    ),
    after: (row) => JSON.stringify([row.module, toHex(row.call)]),
    update: `UPDATE sealwire_outcome o SET outcome = n.outcome
      FROM unnest($1::text[], $2::bytea[], $3::bytea[], $4::bytea[]) AS n(module, call, outcome, old)
      WHERE o.module = n.module AND o.call = n.call AND substr(o.outcome, 1, ${HEAD}) = n.old`,
    rewrap: ({ module, call, binding, outcome }) => [
      ...[module, call],
      ...[move(outcomePlace(module, toBytes(call), toBytes(binding)), outcome), outcome.subarray(0, HEAD)],
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
  return [sessions, data, outcomes, lasting, cookies] as unknown as SecretTable<never>[];
}

/** The first of the rows, in that order, until their `column` has enough bytes. */
function upToBytes(column: string, order: string, rows: string): string {
  return `SELECT * FROM (SELECT r.*, sum(octet_length(${column})) OVER (ORDER BY ${order}) AS bytes FROM (${rows}) r) s
    WHERE bytes - octet_length(${column}) < ${BYTES} ORDER BY ${order}`;
}
