import { toHex } from '@sealwire/core';
import { type Database, toBytes } from './database.js';
import type { KeyEncryption, Place } from './key-encryption.js';
import { keyPlace, outcomePlace, replyPlace } from './places.js';
import { SESSION_COLUMNS, type SessionRow, SessionWrap } from './session-row.js';

export interface RewrapResult {
  readonly rewrapped: number;
  /** rows that no key-encryption key of ours opens: altered, or wrapped by one that is not in SEALWIRE_KEK */
  readonly unreadable: number;
}

interface SecretTable<Row> {
  /** rows not wrapped by the KEK $1, after the key $2 (null at first), at most $3 */
  readonly select: string;
  /** what $2 is for the rows after this one */
  after(row: Row): string;
  rewrap(row: Row): { statement: string; parameters: unknown[] };
}

/**
 * Brings every row under the current key-encryption key, batch by batch. A row is done or not, so breaking off loses nothing
 * and the next run goes on with the rest. Each row is written only where it still is as it was read: a server may be at work.
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
      await database.transaction(async (query) => {
        for (const { statement, parameters } of updates) await query(statement, parameters);
      });
      rewrapped += updates.length;
      const last = rows.at(-1);
      if (rows.length < batch || !last) break;
      after = table.after(last);
    }
  }
  return { rewrapped, unreadable };
}

/** Cookie keys are left out: they live for minutes. */
function tables(keys: KeyEncryption): SecretTable<never>[] {
  const wrap = new SessionWrap(keys);
  const move = (place: Place, wrapped: Uint8Array) => keys.wrap(place, keys.unwrap(place, toBytes(wrapped)));

  const sessions: SecretTable<SessionRow> = {
    select: `SELECT ${SESSION_COLUMNS} FROM sealwire_session s
      WHERE (substr(s.proof, 1, 4) <> $1 OR substr(s.traffic, 1, 4) <> $1 OR substr(s.exporter, 1, 4) <> $1)
        AND ($2::text IS NULL OR s.id > decode($2, 'hex')) ORDER BY s.id LIMIT $3`,
    after: (row) => toHex(row.id),
    rewrap(row) {
      const { traffic, exporter, proof } = wrap.again(row);
      return {
        statement: `UPDATE sealwire_session SET traffic = $2, exporter = $3, proof = $4 WHERE id = $1
          AND traffic IS NOT DISTINCT FROM $5 AND exporter IS NOT DISTINCT FROM $6 AND proof = $7`,
        parameters: [row.id, traffic, exporter, proof, row.traffic, row.exporter, row.proof],
      };
    },
  };

  const replies: SecretTable<{ id: Buffer; lane: number; counter: number; reply: Buffer }> = {
    select: `SELECT session_id AS id, lane::float8 AS lane, counter::float8 AS counter, reply
      FROM sealwire_accepted WHERE substr(reply, 1, 4) <> $1 AND ($2::text IS NULL OR (session_id, lane, counter) >
        (decode($2::json->>0, 'hex'), ($2::json->>1)::bigint, ($2::json->>2)::bigint))
      ORDER BY session_id, lane, counter LIMIT $3`,
    after: (row) => JSON.stringify([toHex(row.id), row.lane, row.counter]),
    rewrap: ({ id, lane, counter, reply }) => ({
      statement:
        'UPDATE sealwire_accepted SET reply = $4 WHERE session_id = $1 AND lane = $2 AND counter = $3 AND reply = $5',
      parameters: [id, lane, counter, move(replyPlace(toBytes(id), lane, counter), reply), reply],
    }),
  };

  const outcomes: SecretTable<{ module: string; key_id: Buffer; call_id: Buffer; outcome: Buffer }> = {
    select: `SELECT module, key_id, call_id, outcome FROM sealwire_outcome
      WHERE substr(outcome, 1, 4) <> $1 AND ($2::text IS NULL OR call_id > decode($2, 'hex')) ORDER BY call_id LIMIT $3`,
    after: (row) => toHex(row.call_id),
    rewrap: ({ module, key_id, call_id, outcome }) => ({
      statement:
        'UPDATE sealwire_outcome SET outcome = $4 WHERE module = $1 AND key_id = $2 AND call_id = $3 AND outcome = $5',
      parameters: [module, key_id, call_id, move(outcomePlace(module, key_id, call_id), outcome), outcome],
    }),
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
    rewrap: ({ kind, module, id, wrapped }) => ({
      statement: 'UPDATE sealwire_key SET wrapped = $4 WHERE kind = $1 AND module = $2 AND id = $3 AND wrapped = $5',
      parameters: [kind, module, id, move(keyPlace(kind, module, toBytes(id)), wrapped), wrapped],
    }),
  };
  return [sessions, replies, outcomes, lasting] as unknown as SecretTable<never>[];
}
