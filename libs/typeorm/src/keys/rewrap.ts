import { byIndex, type Database, toBytes } from '../connection/database.js';
import { SessionWrap, type WrappedSession } from '../sessions/session-row.js';
import { assertHeld, type KeyEncryption, type Place } from './key-encryption.js';
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
  readonly name: string;
  /** the columns of its primary key, and the same as one text */
  readonly key: string;
  readonly at: string;
  /** the rows after the text $2 */
  readonly after: string;
  /** what `rewrap` reads */
  readonly columns: string;
  /** the column that may be long: a statement takes `BYTES` of it */
  readonly long?: string;
  /** whether a row is not wrapped by the KEK $1 */
  readonly old: string;
  /** writes rows, given as one array for each of their values, if they still are as they were read */
  readonly update: string;
  /** one row's values for `update`: its key, what is new, what was there */
  rewrap(row: Row): readonly unknown[];
}

interface Looked {
  readonly at: string;
  readonly old: boolean;
}

/**
 * Brings every row under the current key-encryption key, batch by batch, each in one statement. A row is done or not, so
 * breaking off loses nothing and the next run goes on with the rest. A row that a server wrote meanwhile stays as the server wrote it.
 */
export async function rewrap(database: Database, keys: KeyEncryption, batch = 1_000): Promise<RewrapResult> {
  await assertHeld(database.query, keys);
  let rewrapped = 0;
  let unreadable = 0;
  for (const table of tables(keys)) {
    let after: string | null = null;
    for (;;) {
      const looked: Looked[] = await byIndex(database, selectOf(table), [keys.currentId, after, batch]);
      const updates = looked.flatMap((row) => {
        if (!row.old) return [];
        try {
          return [table.rewrap(row as never)];
        } catch {
          unreadable++;
          return [];
        }
      });
      const columns = updates[0]?.map((_, column) => updates.map((values) => values[column]));
      if (columns) rewrapped += (await database.query(`${table.update} RETURNING 1`, columns)).length;
      const last = looked.at(-1);
      if (!last) break;
      after = last.at;
    }
  }
  return { rewrapped, unreadable };
}

/**
 * Looks at $3 rows, of which the old ones are at most so many that their bytes fit into a statement: those, and in any case the
 * last one, from which the next statement goes on. Rows that are done count too, or one statement would read a whole table of them.
 */
function selectOf({ name, key, at, after, columns, long, old }: SecretTable<never>): string {
  const bytes = long ? `CASE WHEN old THEN octet_length(${long}) ELSE 0 END` : '0';
  return `SELECT * FROM (
      SELECT *, lead(1) OVER (ORDER BY ${key}) IS NULL AS last FROM (
        SELECT *, sum(${bytes}) OVER (ORDER BY ${key}) - ${bytes} AS before FROM (
          SELECT ${columns}, ${at} AS at, (${old}) IS TRUE AS old FROM ${name}
          WHERE $2::text IS NULL OR ${after} ORDER BY ${key} LIMIT $3) looked) counted
      WHERE before < ${BYTES}) taken
    WHERE old OR last ORDER BY ${key}`;
}

const BY_ID = { key: 'id', at: `encode(id, 'hex')`, after: `id > decode($2, 'hex')` };

function tables(keys: KeyEncryption): SecretTable<never>[] {
  const move = (place: Place, wrapped: Uint8Array) => keys.wrap(place, keys.unwrap(place, toBytes(wrapped)));

  const sessions: SecretTable<WrappedSession> = {
    name: 'sealwire_session',
    ...BY_ID,
    columns: 'id, module, key_id, key_size, peer, epoch, traffic, first_key, renewal',
    old: 'substr(first_key, 1, 4) <> $1 OR substr(renewal, 1, 4) <> $1 OR substr(traffic, 1, 4) <> $1',
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
    name: 'sealwire_session',
    ...BY_ID,
    columns: 'id, data_version AS version, data',
    long: 'data',
    old: 'substr(data, 1, 4) <> $1',
    update: `UPDATE sealwire_session s SET data = n.data
      FROM unnest($1::bytea[], $2::bytea[], $3::bytea[]) AS n(id, data, old)
      WHERE s.id = n.id AND substr(s.data, 1, ${HEAD}) = n.old`,
    rewrap: ({ id, version, data: wrapped }) => [
      ...[id, move(dataPlace(toBytes(id), version), wrapped), wrapped.subarray(0, HEAD)],
    ],
  };

  const outcomes: SecretTable<{ module: string; call: Buffer; binding: Buffer; outcome: Buffer }> = {
    name: 'sealwire_outcome',
    key: 'module, call',
    at: `json_build_array(module, encode(call, 'hex'))::text`,
    after: `(module, call) > ($2::json->>0, decode($2::json->>1, 'hex'))`,
    columns: 'module, call, binding, outcome',
    long: 'outcome',
    old: 'substr(outcome, 1, 4) <> $1',
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
    name: 'sealwire_key',
    key: 'kind, module, id',
    at: `json_build_array(kind, module, encode(id, 'hex'))::text`,
    after: `(kind, module, id) > ($2::json->>0, $2::json->>1, decode($2::json->>2, 'hex'))`,
    columns: 'kind, module, id, wrapped',
    old: 'substr(wrapped, 1, 4) <> $1',
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
    name: 'sealwire_cookie_key',
    ...BY_ID,
    columns: 'id, wrapped',
    old: 'substr(wrapped, 1, 4) <> $1',
    update: `UPDATE sealwire_cookie_key k SET wrapped = n.wrapped
      FROM unnest($1::bytea[], $2::bytea[], $3::bytea[]) AS n(id, wrapped, old) WHERE k.id = n.id AND k.wrapped = n.old`,
    rewrap: ({ id, wrapped }) => [id, move(cookieKeyPlace(toBytes(id)), wrapped), wrapped],
  };
  return [sessions, data, outcomes, lasting, cookies] as unknown as SecretTable<never>[];
}
