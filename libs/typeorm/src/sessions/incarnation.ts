import { type Primitives, SIZE, toHex } from '@sealwire/core';
import { type Query, toBytes } from '../connection/database.js';
import type { KeyEncryption } from '../keys/key-encryption.js';
import { keyPlace } from '../keys/places.js';

/**
 * SQL that tells this state of the database from the same database after a restore: which table file (another one after
 * DROP, CREATE and a dump played back), which timeline (another one after a promotion or a recovery to a point in time) and
 * which cluster. A file system snapshot put back under a stopped server looks the same: for that there is `operatorEpoch`.
 * Statements that accept numbers or open lanes compare it themselves; a value read before would not be strict.
 */
export const MARK = `(pg_relation_filepath('sealwire_session') || ' ' || left(pg_walfile_name(pg_current_wal_lsn()), 8)
  || ' ' || (SELECT system_identifier FROM pg_control_system()))`;

/** Turns the mark into the 8 bytes that clients see: HMAC(key, mark || operator epoch), so that they learn nothing else. */
export class Incarnation {
  mark = '';
  value: Uint8Array = new Uint8Array(SIZE.incarnation);
  private key: Uint8Array | undefined;

  constructor(
    private readonly primitives: Primitives,
    private readonly keys: KeyEncryption,
    private readonly operatorEpoch: string,
  ) {}

  /** The key is kept in the table, not made from a KEK, so that rotating the KEK does not look like a restore. */
  async load(query: Query): Promise<void> {
    const place = keyPlace('incarnation', '', Uint8Array.of(0));
    const fresh = this.keys.wrap(place, this.primitives.random(SIZE.key));
    await query(
      `INSERT INTO sealwire_key (kind, module, id, wrapped) VALUES ('incarnation', '', '\\x00', $1)
       ON CONFLICT (kind, module, id) DO NOTHING`,
      [fresh],
    );
    const [row] = await query<{ wrapped: Buffer; mark: string }>(
      `SELECT wrapped, ${MARK} AS mark FROM sealwire_key WHERE kind = 'incarnation'`,
    );
    if (!row) throw new Error('The incarnation key is missing.');
    this.key = this.keys.unwrap(place, toBytes(row.wrapped));
    this.mark = row.mark;
    this.value = this.of(row.mark);
  }

  /** A key that every instance has, now and after each rotation of the KEK, and that the database alone does not give away. */
  derive(label: string): Uint8Array {
    return this.primitives.hmac(this.rootKey(), new TextEncoder().encode(label));
  }

  private rootKey(): Uint8Array {
    if (!this.key) throw new Error('The store was not started.');
    return this.key;
  }

  private of(mark: string): Uint8Array {
    const text = new TextEncoder().encode(`${mark} ${this.operatorEpoch}`);
    return this.primitives.hmac(this.rootKey(), text).slice(0, SIZE.incarnation);
  }

  /** Whether a database with that mark is in the incarnation `value`. */
  matches(mark: string, value: Uint8Array): boolean {
    return toHex(this.of(mark)) === toHex(value);
  }
}
