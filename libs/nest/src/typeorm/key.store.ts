import {
  formatKeyText,
  type KeyPair,
  type Primitives,
  SealwireError,
  type SecureKey,
  SIZE,
  serverKeyId,
} from '@sealwire/core';
import { KeyStore } from '../session-store.js';
import { type Database, type Query, toBytes } from './database.js';
import type { KeyEncryption } from './key-encryption.js';
import { cookieKeyPlace, keyPlace } from './places.js';

type CookieKeyRandom = { readonly id: Uint8Array; readonly random: Uint8Array };

/** seconds */
const COOKIE_KEY_FRESH = 300;
const COOKIE_KEY_READABLE = 360;
/** milliseconds: how long another instance's rotation may go unseen */
const REFRESH = 5_000;
const CACHED_SECURE_KEYS = 10_000;

const VALID = '(valid_until IS NULL OR valid_until > now())';

export class TypeOrmKeyStore extends KeyStore {
  private readonly query: Query;
  private servers: { keys: readonly KeyPair[]; until: number } | undefined;
  private readonly secureKeys = new Map<string, { secret: Uint8Array; until: number }>();
  private readonly cookieKeys = new Map<string, CookieKeyRandom>();
  private cookie: { key: Promise<CookieKeyRandom>; until: number } | undefined;

  constructor(
    private readonly database: Database,
    private readonly keys: KeyEncryption,
    private readonly primitives: Primitives,
  ) {
    super();
    this.query = (statement, parameters) => database.query(statement, parameters);
  }

  async serverKeys(): Promise<readonly KeyPair[]> {
    if (this.servers && performance.now() < this.servers.until) return this.servers.keys;
    let keys = await this.readServerKeys(this.query);
    if (keys.length === 0) {
      keys = await this.database.transaction(async (query) => {
        await lockServerKeys(query);
        // another instance may have been first
        const made = await this.readServerKeys(query);
        return made.length > 0 ? made : [await this.insertServerKey(query)];
      });
    }
    this.servers = { keys, until: performance.now() + REFRESH };
    return keys;
  }

  async secureKey(module: string, keyId: Uint8Array): Promise<Uint8Array | undefined> {
    const name = `${module} ${keyId.join()}`;
    const cached = this.secureKeys.get(name);
    if (cached && performance.now() < cached.until) return cached.secret;
    this.secureKeys.delete(name);
    const [row] = await this.query<{ wrapped: Buffer }>(
      `SELECT wrapped FROM sealwire_key WHERE kind = 'secure' AND module = $1 AND id = $2 AND ${VALID}`,
      [module, keyId],
    );
    if (!row) return undefined;
    const secret = this.keys.unwrap(keyPlace('secure', module, keyId), toBytes(row.wrapped));
    if (this.secureKeys.size >= CACHED_SECURE_KEYS) this.secureKeys.clear();
    this.secureKeys.set(name, { secret, until: performance.now() + REFRESH });
    return secret;
  }

  currentCookieKey(): Promise<CookieKeyRandom> {
    if (!this.cookie || performance.now() > this.cookie.until) {
      const key = this.newestCookieKey();
      this.cookie = { key, until: performance.now() + REFRESH };
      key.catch(() => {
        this.cookie = undefined;
      });
    }
    return this.cookie.key;
  }

  async cookieKey(id: Uint8Array): Promise<CookieKeyRandom | undefined> {
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
        `UPDATE sealwire_key SET valid_until = $1 WHERE kind = 'server' AND (valid_until IS NULL OR valid_until > $1)`,
        [validUntil],
      );
      return this.insertServerKey(query);
    });
    this.servers = undefined;
    return formatKeyText('swp1', pair.publicKey);
  }

  async addSecureKey(module: string, key: SecureKey): Promise<void> {
    await this.insertSecureKey(this.query, module, key);
  }

  /** A new SecureKey for the module, which the client must be given; the old ones of the module, or just `keyId`, stay good until then. */
  async rotateSecureKey(
    module: string,
    { validUntil, keyId }: { validUntil: Date; keyId?: Uint8Array },
  ): Promise<string> {
    const key = { keyId: this.primitives.random(SIZE.keyId), secret: this.primitives.random(SIZE.key) };
    await this.database.transaction(async (query) => {
      const ended = await query(
        `UPDATE sealwire_key SET valid_until = $2 WHERE kind = 'secure' AND module = $1 AND ($3::bytea IS NULL OR id = $3)
           AND (valid_until IS NULL OR valid_until > $2) RETURNING 1`,
        [module, validUntil, keyId],
      );
      if (keyId && ended.length === 0) throw new SealwireError('bad_key', `Module '${module}' has no such SecureKey.`);
      await this.insertSecureKey(query, module, key);
    });
    this.secureKeys.clear();
    return formatKeyText('swk1', Uint8Array.of(...key.keyId, ...key.secret));
  }

  private async insertSecureKey(query: Query, module: string, { keyId, secret }: SecureKey): Promise<void> {
    await query(`INSERT INTO sealwire_key (kind, module, id, wrapped) VALUES ('secure', $1, $2, $3)`, [
      module,
      keyId,
      this.keys.wrap(keyPlace('secure', module, keyId), secret),
    ]);
  }

  private async readServerKeys(query: Query): Promise<KeyPair[]> {
    const rows = await query<{ id: Buffer; wrapped: Buffer }>(
      `SELECT id, wrapped FROM sealwire_key WHERE kind = 'server' AND ${VALID} ORDER BY created_at DESC, id`,
    );
    return rows.map(({ id, wrapped }) =>
      this.primitives.x25519KeyPair(this.keys.unwrap(keyPlace('server', '', toBytes(id)), toBytes(wrapped))),
    );
  }

  private async insertServerKey(query: Query): Promise<KeyPair> {
    const pair = this.primitives.x25519KeyPair(this.primitives.random(SIZE.key));
    const id = serverKeyId(pair.publicKey, this.primitives);
    await query(`INSERT INTO sealwire_key (kind, module, id, wrapped) VALUES ('server', '', $1, $2)`, [
      id,
      this.keys.wrap(keyPlace('server', '', id), pair.privateKey),
    ]);
    return pair;
  }

  /** Asks the database every few seconds, for it may have lost its unlogged table, and then instances would not agree. */
  private async newestCookieKey(): Promise<CookieKeyRandom> {
    const newest = `SELECT id, wrapped, ${COOKIE_KEY_AGE} AS age FROM sealwire_cookie_key
      WHERE ${COOKIE_KEY_AGE} < ${COOKIE_KEY_FRESH} ORDER BY created_at DESC LIMIT 1`;
    const [row] = await this.query<CookieKeyRow>(newest);
    if (row) return this.keepCookieKey(row);
    return this.database.transaction(async (query) => {
      await query(`SELECT pg_advisory_xact_lock(hashtext('sealwire cookie key'))`);
      const [made] = await query<CookieKeyRow>(newest);
      if (made) return this.keepCookieKey(made);
      await query(`DELETE FROM sealwire_cookie_key WHERE ${COOKIE_KEY_AGE} >= ${COOKIE_KEY_READABLE}`);
      const id = this.primitives.random(4);
      const wrapped = this.keys.wrap(cookieKeyPlace(id), this.primitives.random(SIZE.key));
      await query('INSERT INTO sealwire_cookie_key (id, wrapped) VALUES ($1, $2)', [id, wrapped]);
      return this.keepCookieKey({ id, wrapped, age: 0 });
    });
  }

  /** In memory until it may be read no more, then overwritten. */
  private keepCookieKey({ id, wrapped, age }: CookieKeyRow): CookieKeyRandom {
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
