import { Logger } from '@nestjs/common';
import {
  formatKeyText,
  ownOptions,
  type Primitives,
  SealwireError,
  type SecureKey,
  SIZE,
  serverKeyId,
  thrownText,
  toHex,
} from '@sealwire/core';
import { type CookieRandom, KeyStore, type StoredServerKey } from '@sealwire/nest/ports';
import { type Database, DURABLE, type Query, toBytes } from '../connection/database.js';
import { GroupCommit } from '../numbers/group-commit.js';
import { CookieKeys, MOST } from './cookie-keys.js';
import { assertSharedKek, type KeyEncryption } from './key-encryption.js';
import { keyPlace } from './places.js';

const DECOY = keyPlace('secure', '', new Uint8Array(SIZE.keyId));

/** milliseconds */
const CREATED = 'extract(epoch FROM created_at)::float8 * 1000 AS created';

const VALID = '(valid_until IS NULL OR valid_until > now())';
/** The time $n, but not before the database's: whoever follows the ends of keys looks no further back than it looked before. */
const notPast = (n: number) => `GREATEST($${n}::timestamptz, now())`;

interface Named {
  readonly module: string;
  readonly id: Uint8Array;
}

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
  private readonly cookieKeys: CookieKeys;
  /** anybody may name a key, as often as they like: one statement at a time asks about all of them */
  private readonly secureKeys = new GroupCommit((asked: Named[]) => this.findSecureKeys(asked), MOST);

  constructor(
    private readonly database: Database,
    private readonly keys: KeyEncryption,
    private readonly primitives: Primitives,
  ) {
    super();
    this.query = database.query;
    this.decoy = keys.wrap(DECOY, new Uint8Array(SIZE.key));
    this.cookieKeys = new CookieKeys(database, keys, primitives);
  }

  async serverKeys(): Promise<readonly StoredServerKey[]> {
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
    const wrapped = await this.secureKeys.add({ module, id: keyId });
    const secret = this.keys.unwrap(wrapped ? keyPlace('secure', module, keyId) : DECOY, wrapped ?? this.decoy);
    return wrapped && secret;
  }

  /** Purging keeps each module's last one. */
  async hasSecureKeys(module: string): Promise<boolean> {
    const [row] = await this.query<{ any: boolean }>(
      `SELECT EXISTS (SELECT FROM sealwire_key WHERE kind = 'secure' AND module = $1) AS any`,
      [module],
    );
    return row?.any ?? false;
  }

  currentCookieKey(): Promise<CookieRandom> {
    return this.cookieKeys.current();
  }

  cookieKey(id: Uint8Array): Promise<CookieRandom | undefined> {
    return this.cookieKeys.named(id);
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
      if (ended.length === 0) throw await nothingToRotate(query, module, keyId);
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

  private async findSecureKeys(asked: Named[]): Promise<(Uint8Array | undefined)[]> {
    const rows = await this.query<{ module: string; id: Buffer; wrapped: Buffer }>(
      `SELECT module, id, wrapped FROM sealwire_key JOIN unnest($1::text[], $2::bytea[]) AS asked(module, id) USING (module, id)
       WHERE kind = 'secure' AND ${VALID}`,
      [asked.map(({ module }) => module), asked.map(({ id }) => id)],
    );
    const nameOf = ({ module, id }: Named) => `${module} ${toHex(id)}`;
    const found = new Map(rows.map((row) => [nameOf(row), toBytes(row.wrapped)]));
    return asked.map((one) => found.get(nameOf(one)));
  }

  private newSecureKey(): SecureKey {
    return { keyId: this.primitives.random(SIZE.keyId), secret: this.primitives.random(SIZE.key) };
  }

  private async insertSecureKey(query: Query, module: string, { keyId, secret }: SecureKey): Promise<string> {
    await this.insert(query, { kind: 'secure', module, id: keyId }, secret);
    return formatKeyText('swk1', Uint8Array.of(...keyId, ...secret));
  }

  private async insertServerKey(query: Query): Promise<StoredServerKey> {
    const pair = this.primitives.x25519KeyPair(this.primitives.random(SIZE.key));
    const id = serverKeyId(pair.publicKey, this.primitives);
    const created = await this.insert(query, { kind: 'server', module: '', id }, pair.privateKey);
    return { ...pair, created };
  }

  private async insert(
    query: Query,
    { kind, module, id }: { kind: 'server' | 'secure'; module: string; id: Uint8Array },
    secret: Uint8Array,
  ): Promise<number> {
    await assertSharedKek(query, this.keys);
    // not the time at which the transaction began: it may have waited, and servers go by the key's age
    const [row] = await query<{ created: number }>(
      `INSERT INTO sealwire_key (kind, module, id, wrapped, created_at)
       SELECT $1, $2, $3::bytea, $4::bytea, clock_timestamp() WHERE ${DURABLE} RETURNING ${CREATED}`,
      [...[kind, module, id], this.keys.wrap(keyPlace(kind, module, id), secret)],
    );
    return row?.created ?? 0;
  }

  /** A key that does not open is left out: the others go on. */
  private async readServerKeys(query: Query): Promise<StoredServerKey[]> {
    const rows = await query<{ id: Buffer; wrapped: Buffer; created: number }>(
      `SELECT id, wrapped, ${CREATED} FROM sealwire_key WHERE kind = 'server' AND ${VALID} ORDER BY created_at DESC, id`,
    );
    const problems: unknown[] = [];
    const pairs = rows.flatMap(({ id, wrapped, created }) => {
      try {
        const secret = this.keys.unwrap(keyPlace('server', '', toBytes(id)), toBytes(wrapped));
        return [{ ...this.primitives.x25519KeyPair(secret), created }];
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
}

async function nothingToRotate(query: Query, module: string, keyId: Uint8Array | undefined): Promise<SealwireError> {
  const [last] = await query<{ until: Date; over: boolean }>(
    `SELECT valid_until AS until, valid_until <= now() AS over FROM sealwire_key
     WHERE kind = 'secure' AND module = $1 AND ($2::bytea IS NULL OR id = $2) ORDER BY valid_until DESC LIMIT 1`,
    [module, keyId],
  );
  const which = keyId ? `SecureKey ${toHex(keyId)}` : 'every SecureKey';
  const sentence = last
    ? `In module '${module}' ${which} ${last.over ? 'ended' : 'already ends'} by ${last.until.toISOString()}`
    : `Module '${module}' has ${keyId ? 'no such SecureKey' : 'no SecureKey to rotate'} in the database`;
  return new SealwireError('bad_key', `${sentence}; nothing was changed. "keys add" adds one.`);
}

/** Two instances that both find no key must not make two. */
async function lockServerKeys(query: Query): Promise<void> {
  await query(`SELECT pg_advisory_xact_lock(hashtext('sealwire server key'))`);
}
