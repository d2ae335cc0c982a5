import { SessionData, type SessionDataRow } from '@sealwire/nest/ports';
import type { EntityManager, QueryRunner } from 'typeorm';
import { type Database, type Query, toBytes } from '../connection/database.js';
import type { KeyEncryption } from '../keys/key-encryption.js';
import { dataPlace } from '../keys/places.js';
import { LIVE } from './session-row.js';

/**
 * The application's data, as wrapped JSON: neither the table nor the write-ahead log nor a backup has it in clear.
 *
 * @example
 * const { data } = await connectTypeOrmStore(process.env.DATABASE_URL ?? '', { kek: process.env.SEALWIRE_KEK });
 * const row = await data.read(sessionId);
 */
export class TypeOrmSessionData extends SessionData {
  constructor(
    private readonly database: Database,
    private readonly keys: KeyEncryption,
  ) {
    super();
  }

  async read(id: Uint8Array, transaction?: unknown): Promise<SessionDataRow | undefined> {
    const [row] = await this.queryIn(transaction)<{ data: Uint8Array | null; version: number }>(
      `SELECT s.data, s.data_version AS version FROM sealwire_session s WHERE s.id = $1 AND ${LIVE}`,
      [id],
    );
    if (!row) return undefined;
    return { data: row.data ? unwrapData(this.keys, id, row.version, row.data) : {}, version: row.version };
  }

  async write(id: Uint8Array, data: Record<string, unknown>, version: number, transaction?: unknown): Promise<boolean> {
    const done = await this.queryIn(transaction)(
      `UPDATE sealwire_session s SET data = $2, data_version = data_version + 1
       WHERE s.id = $1 AND s.data_version = $3 AND ${LIVE} RETURNING 1`,
      [id, wrapData(this.keys, id, version + 1, data), version],
    );
    return done.length > 0;
  }

  /** Another connection would have to wait for the transaction's, if all are taken or there is but one. */
  private queryIn(transaction: unknown): Query {
    const { queryRunner } = (transaction ?? {}) as Partial<EntityManager>;
    return queryRunner ? queryOf(queryRunner) : this.database.query;
  }
}

/** Statements through a runner. */
export function queryOf(runner: QueryRunner): Query {
  return async <Row>(statement: string, parameters?: unknown[]) =>
    (await runner.query(statement, parameters, true)).records as Row[];
}

export function wrapData(
  keys: KeyEncryption,
  id: Uint8Array,
  version: number,
  data: Record<string, unknown>,
): Uint8Array {
  return keys.wrap(dataPlace(id, version), new TextEncoder().encode(JSON.stringify(data)));
}

/** @throws SealwireError if it was altered, is of another session or an earlier version, or wrapped by an unknown KEK */
export function unwrapData(
  keys: KeyEncryption,
  id: Uint8Array,
  version: number,
  wrapped: Uint8Array,
): Record<string, unknown> {
  return JSON.parse(new TextDecoder().decode(keys.unwrap(dataPlace(id, version), toBytes(wrapped))));
}
