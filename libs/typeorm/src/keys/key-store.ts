import { Logger } from '@nestjs/common';
import {
  formatKeyText,
  type KeyPair,
  ownOptions,
  type Primitives,
  SealwireError,
  type SecureKey,
  SIZE,
  serverKeyId,
  thrownText,
  toHex,
} from '@sealwire/core';
import { type CookieRandom, KeyStore } from '@sealwire/nest/ports';
import { type Database, DURABLE, type Query, toBytes } from '../connection/database.js';
import { assertSharedKek, type KeyEncryption } from './key-encryption.js';
import { cookieKeyPlace, keyPlace } from './places.js';

/** seconds */
const COOKIE_KEY_FRESH = 300;
export const COOKIE_KEY_READABLE = 360;
/** milliseconds */
const COOKIE_KEY_REFRESH = 5_000;

const DECOY = keyPlace('secure', '', new Uint8Array(SIZE.keyId));

const VALID = '(valid_until IS NULL OR valid_until > now())';
/** The time $n, but not before the database's: whoever follows the ends of keys looks no further back than it looked before. */
const notPast = (n: number) => `GREATEST($${n}::timestamptz, now())`;

/** A lasting key, without its secret. */
export interface KeySummary {
  readonly kind: 'server' | 'secure';
  /** hexadecimal: a server key's fingerprint, a SecureKey's keyId */
  readonly id: string;
  /** of a SecureKey */
  readonly module: string | undefined;
  readonly created: Date;
  /** undefined: until it is rotated */
  readonly validUntil: Date | undefined;
}

/**
 * Server keys, SecureKeys and cookie keys in the database, each wrapped under the key-encryption key.
 * @example
 * const { keys } = await connectTypeOrmStore(process.env.DATABASE_URL ?? '', { kek: process.env.SEALWIRE_KEK });
 * const guarded = await keys.hasSecureKeys('payments');
 */
export class TypeOrmKeyStore extends KeyStore {
  private readonly logger = new Logger('SealwireKeyStore');
  private readonly query: Query;
  /** opened if there is no key, so that a known keyId takes as long as any other */
  private readonly decoy: Uint8Array;
  /** server keys that do not open and were told of */
  private readonly unreadable = new Set<string>();
  private readonly cookieKeys = new Map<string, CookieRandom>();
  private cookie: { key: Promise<CookieRandom>; until: number } | undefined;

  constructor(
    private readonly database: Database,
    private readonly keys: KeyEncryption,
    private readonly primitives: Primitives,
  ) {
    super();
    this.query = database.query;
    this.decoy = keys.wrap(DECOY, new Uint8Array(SIZE.key));
  }

  async serverKeys(): Promise<readonly KeyPair[]> {
    const keys = await this.readServerKeys(this.query);
    if (keys.length > 0) return keys;
    return this.database.transaction(async (query) => {
      await lockServerKeys(query);
      // another instance may have been first
      const made = await this.readServerKeys(query);
      return made.length > 0 ? made : [await this.insertServerKey(query)];
    });
  }

  async secureKey(module: string, keyId: Uint8Array): Promise<Uint8Array | undefined> {
    const [row] = await this.query<{ wrapped: Buffer }>(
      `SELECT wrapped FROM sealwire_key WHERE kind = 'secure' AND module = $1 AND id = $2 AND ${VALID}`,
      [module, keyId],
    );
    const place = row ? keyPlace('secure', module, keyId) : DECOY;
    const secret = this.keys.unwrap(place, toBytes(row?.wrapped ?? this.decoy));
    return row && secret;
  }

  async hasSecureKeys(module: string): Promise<boolean> {
    const [row] = await this.query<{ any: boolean }>(
      `SELECT EXISTS (SELECT FROM sealwire_key WHERE kind = 'secure' AND module = $1 AND ${VALID}) AS any`,
      [module],
    );
    return row?.any ?? false;
  }

  currentCookieKey(): Promise<CookieRandom> {
    if (!this.cookie || performance.now() > this.cookie.until) {
      const key = this.newestCookieKey();
      this.cookie = { key, until: performance.now() + COOKIE_KEY_REFRESH };
      key.catch(() => {
        this.cookie = undefined;
      });
    }
    return this.cookie.key;
  }

  async cookieKey(id: Uint8Array): Promise<CookieRandom | undefined> {
    const cached = this.cookieKeys.get(id.join());
    if (cached) return cached;
    const [row] = await this.query<CookieKeyRow>(
      `SELECT id, wrapped, ${COOKIE_KEY_AGE} AS age FROM sealwire_cookie_key
       WHERE id = $1 AND ${COOKIE_KEY_AGE} < ${COOKIE_KEY_READABLE}`,
      [id],
    );
    return row && this.keepCookieKey(row);
  }

  /** A new pair; the old ones stay good until then. Answers the public key, which clients pin. */
  async rotateServerKey({ validUntil }: { validUntil: Date }): Promise<string> {
    const pair = await this.database.transaction(async (query) => {
      await lockServerKeys(query);
      await query(
        `UPDATE sealwire_key SET valid_until = ${notPast(1)}
         WHERE kind = 'server' AND (valid_until IS NULL OR valid_until > ${notPast(1)})`,
        [validUntil],
      );
      return this.insertServerKey(query);
    });
    return formatKeyText('swp1', pair.publicKey);
  }

  /** Answers the key's text, which the client must be given. */
  async addSecureKey(module: string, key: SecureKey = this.newSecureKey()): Promise<string> {
    return this.insertSecureKey(this.query, module, key);
  }

  /**
   * A new SecureKey for the module, which the client must be given; the old ones of the module, or just `keyId`, stay good until
   * then. It fails if there is no old one: the name is mistyped, or the application configures the module's keys.
   */
  async rotateSecureKey(module: string, options: { validUntil: Date; keyId?: Uint8Array }): Promise<string> {
    const { validUntil, keyId } = ownOptions(options, ['validUntil', 'keyId']);
    return this.database.transaction(async (query) => {
      const ended = await query(
        `UPDATE sealwire_key SET valid_until = ${notPast(2)}
         WHERE kind = 'secure' AND module = $1 AND ($3::bytea IS NULL OR id = $3)
           AND (valid_until IS NULL OR valid_until > ${notPast(2)}) RETURNING 1`,
        [module, validUntil, keyId],
      );
      if (ended.length === 0) {
        const none = keyId ? 'no such SecureKey' : 'no SecureKey to rotate';
        throw new SealwireError('bad_key', `Module '${module}' has ${none} in the database; "keys add" adds one.`);
      }
      return this.insertSecureKey(query, module, this.newSecureKey());
    });
  }

  override async revokeSecureKey(keyId: Uint8Array): Promise<boolean> {
    const revoked = await this.query(
      `UPDATE sealwire_key SET valid_until = now()
       WHERE ${DURABLE} AND kind = 'secure' AND id = $1 AND ${VALID} RETURNING 1`,
      [keyId],
    );
    return revoked.length > 0;
  }

  /** All keys, newest first; those whose time is over too while they are kept. */
  async list(): Promise<KeySummary[]> {
    const rows = await this.query<KeySummary & { validUntil: Date | null }>(
      `SELECT kind, encode(id, 'hex') AS id, NULLIF(module, '') AS module, created_at AS created, valid_until AS "validUntil"
       FROM sealwire_key WHERE kind IN ('server', 'secure') ORDER BY kind, module, created_at DESC, id`,
    );
    return rows.map((row) => ({ ...row, module: row.module ?? undefined, validUntil: row.validUntil ?? undefined }));
  }

  private newSecureKey(): SecureKey {
    return { keyId: this.primitives.random(SIZE.keyId), secret: this.primitives.random(SIZE.key) };
  }

  private async insertSecureKey(query: Query, module: string, { keyId, secret }: SecureKey): Promise<string> {
    await this.insert(query, { kind: 'secure', module, id: keyId }, secret);
    return formatKeyText('swk1', Uint8Array.of(...keyId, ...secret));
  }

  private async insertServerKey(query: Query): Promise<KeyPair> {
    const pair = this.primitives.x25519KeyPair(this.primitives.random(SIZE.key));
    const id = serverKeyId(pair.publicKey, this.primitives);
    await this.insert(query, { kind: 'server', module: '', id }, pair.privateKey);
    return pair;
  }

  private async insert(
    query: Query,
    { kind, module, id }: { kind: 'server' | 'secure'; module: string; id: Uint8Array },
    secret: Uint8Array,
  ): Promise<void> {
    await assertSharedKek(query, this.keys);
    await query(
      `INSERT INTO sealwire_key (kind, module, id, wrapped) SELECT $1, $2, $3::bytea, $4::bytea WHERE ${DURABLE}`,
      [...[kind, module, id], this.keys.wrap(keyPlace(kind, module, id), secret)],
    );
  }

  /** A key that does not open is left out: the others go on. */
  private async readServerKeys(query: Query): Promise<KeyPair[]> {
    const rows = await query<{ id: Buffer; wrapped: Buffer }>(
      `SELECT id, wrapped FROM sealwire_key WHERE kind = 'server' AND ${VALID} ORDER BY created_at DESC, id`,
    );
    const problems: unknown[] = [];
    const pairs = rows.flatMap(({ id, wrapped }) => {
      try {
        const secret = this.keys.unwrap(keyPlace('server', '', toBytes(id)), toBytes(wrapped));
        return [this.primitives.x25519KeyPair(secret)];
      } catch (error) {
        problems.push(error);
        this.tellOnce(toHex(id), error);
        return [];
      }
    });
    if (pairs.length === 0 && problems.length > 0) throw problems[0];
    return pairs;
  }

  /** Servers ask for their keys every second. */
  private tellOnce(id: string, error: unknown): void {
    if (this.unreadable.has(id)) return;
    this.unreadable.add(id);
    this.logger.error(`Server key ${id} does not open and is left out: ${thrownText(error)}`);
  }

  /**
   * Asks the database every few seconds, for it may have lost its unlogged table, and then instances would not agree. A key that
   * does not open is as good as none: another instance wraps under a key-encryption key that this one does not hold.
   */
  private async newestCookieKey(): Promise<CookieRandom> {
    const known = await this.freshCookieKey(this.query);
    if (known) return known;
    return this.database.transaction(async (query) => {
      await query(`SELECT pg_advisory_xact_lock(hashtext('sealwire cookie key'))`);
      const made = await this.freshCookieKey(query);
      if (made) return made;
      const id = this.primitives.random(4);
      const wrapped = this.keys.wrap(cookieKeyPlace(id), this.primitives.random(SIZE.key));
      await query('INSERT INTO sealwire_cookie_key (id, wrapped) VALUES ($1, $2)', [id, wrapped]);
      return this.keepCookieKey({ id, wrapped, age: 0 });
    });
  }

  /** The newest cookie key that opens. */
  private async freshCookieKey(query: Query): Promise<CookieRandom | undefined> {
    const rows = await query<CookieKeyRow>(
      `SELECT id, wrapped, ${COOKIE_KEY_AGE} AS age FROM sealwire_cookie_key
       WHERE ${COOKIE_KEY_AGE} < ${COOKIE_KEY_FRESH} ORDER BY created_at DESC, id`,
    );
    for (const row of rows) {
      try {
        return this.keepCookieKey(row);
      } catch {
        // the next one may open
      }
    }
    return undefined;
  }

  /** Keeps a cookie key in memory until it may be read no more, and overwrites it then. */
  private keepCookieKey({ id, wrapped, age }: CookieKeyRow): CookieRandom {
    const name = Uint8Array.from(id).join();
    const known = this.cookieKeys.get(name);
    if (known) return known;
    const key = { id: toBytes(id), random: this.keys.unwrap(cookieKeyPlace(toBytes(id)), toBytes(wrapped)) };
    this.cookieKeys.set(name, key);
    setTimeout(
      () => {
        this.cookieKeys.delete(name);
        key.random.fill(0);
      },
      Math.max(0, COOKIE_KEY_READABLE - age) * 1_000,
    ).unref();
    return key;
  }
}

interface CookieKeyRow {
  readonly id: Uint8Array;
  readonly wrapped: Uint8Array;
  /** seconds */
  readonly age: number;
}

const COOKIE_KEY_AGE = 'extract(epoch FROM now() - created_at)::float8';

/** Two instances that both find no key must not make two. */
async function lockServerKeys(query: Query): Promise<void> {
  await query(`SELECT pg_advisory_xact_lock(hashtext('sealwire server key'))`);
}
