import { type Primitives, SIZE, toHex } from '@sealwire/core';
import type { CookieRandom } from '@sealwire/nest/ports';
import { type Database, type Query, toBytes } from '../connection/database.js';
import { GroupCommit } from '../numbers/group-commit.js';
import type { KeyEncryption } from './key-encryption.js';
import { cookieKeyPlace } from './places.js';

/** seconds */
const FRESH = 300;
export const COOKIE_KEY_READABLE = 360;
/** milliseconds */
const REFRESH = 5_000;

/** Keys that one statement asks about: no line of unknown ones is longer than that for those behind it. */
export const MOST = 5_000;

const AGE = 'extract(epoch FROM now() - created_at)::float8';

interface CookieKeyRow {
  readonly id: Uint8Array;
  readonly wrapped: Uint8Array;
  /** seconds */
  readonly age: number;
}

/** The keys of cookies, in a table that is in no log. */
export class CookieKeys {
  private readonly known = new Map<string, CookieRandom>();
  private cookie: { key: Promise<CookieRandom>; until: number } | undefined;
  /** anybody may name a key, as often as they like: one statement at a time asks about all of them */
  private readonly finds = new GroupCommit((ids: Uint8Array[]) => this.find(ids), MOST);

  constructor(
    private readonly database: Database,
    private readonly keys: KeyEncryption,
    private readonly primitives: Primitives,
  ) {}

  current(): Promise<CookieRandom> {
    if (!this.cookie || performance.now() > this.cookie.until) {
      const key = this.newest();
      this.cookie = { key, until: performance.now() + REFRESH };
      key.catch(() => {
        this.cookie = undefined;
      });
    }
    return this.cookie.key;
  }

  async named(id: Uint8Array): Promise<CookieRandom | undefined> {
    const cached = this.known.get(id.join());
    if (cached) return cached;
    const row = await this.finds.add(id);
    return row && this.keep(row);
  }

  /**
   * Asks the database every few seconds, for it may have lost its unlogged table, and then instances would not agree. A key that
   * does not open is as good as none: another instance wraps under a key-encryption key that this one does not hold.
   */
  private async newest(): Promise<CookieRandom> {
    const known = await this.fresh(this.database.query);
    if (known) return known;
    return this.database.transaction(async (query) => {
      await query(`SELECT pg_advisory_xact_lock(hashtext('sealwire cookie key'))`);
      const made = await this.fresh(query);
      if (made) return made;
      const id = this.primitives.random(4);
      const wrapped = this.keys.wrap(cookieKeyPlace(id), this.primitives.random(SIZE.key));
      await query('INSERT INTO sealwire_cookie_key (id, wrapped) VALUES ($1, $2)', [id, wrapped]);
      return this.keep({ id, wrapped, age: 0 });
    });
  }

  private async find(ids: Uint8Array[]): Promise<(CookieKeyRow | undefined)[]> {
    const rows = await this.database.query<CookieKeyRow>(
      `SELECT id, wrapped, ${AGE} AS age FROM sealwire_cookie_key
       WHERE id = ANY($1::bytea[]) AND ${AGE} < ${COOKIE_KEY_READABLE}`,
      [ids],
    );
    const found = new Map(rows.map((row) => [toHex(row.id), row]));
    return ids.map((id) => found.get(toHex(id)));
  }

  /** The newest cookie key that opens. */
  private async fresh(query: Query): Promise<CookieRandom | undefined> {
    const rows = await query<CookieKeyRow>(
      `SELECT id, wrapped, ${AGE} AS age FROM sealwire_cookie_key
       WHERE ${AGE} < ${FRESH} ORDER BY created_at DESC, id`,
    );
    for (const row of rows) {
      try {
        return this.keep(row);
      } catch {
        // the next one may open
      }
    }
    return undefined;
  }

  /** Keeps a cookie key in memory until it may be read no more, and overwrites it then. */
  private keep({ id, wrapped, age }: CookieKeyRow): CookieRandom {
    const name = Uint8Array.from(id).join();
    const known = this.known.get(name);
    if (known) return known;
    const key = { id: toBytes(id), random: this.keys.unwrap(cookieKeyPlace(toBytes(id)), toBytes(wrapped)) };
    this.known.set(name, key);
    setTimeout(
      () => {
        this.known.delete(name);
        key.random.fill(0);
      },
      Math.max(0, COOKIE_KEY_READABLE - age) * 1_000,
    ).unref();
    return key;
  }
}
