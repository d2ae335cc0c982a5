import { concat, fromHex, type Primitives, parseKeyEncryptionKey, SealwireError, toHex } from '@sealwire/core';
import { type Query, toBytes } from '../connection/database.js';
import { keyPlace } from './places.js';

/** The place of a secret: table, column and what else identifies its row. A secret that was moved or relabelled does not open. */
export type Place = readonly (string | number | Uint8Array | undefined)[];

const KEY_ID = 4;
const SALT = 16;
/** Every wrap has a key of its own, from a fresh salt; so nonce 0 is never used twice. */
const NONCE = new Uint8Array(12);
const text = new TextEncoder();

/**
 * Wraps secrets for the database (PROTOCOL.md appendix E.6):
 * KEK id 4 || salt 16 || AES-256-GCM(HMAC(KEK, "row" || place || salt), nonce 0, ad = place)
 */
export class KeyEncryption {
  /** ids of the keys: the first one wraps, the others only open */
  readonly ids: readonly Uint8Array[];
  readonly currentId: Uint8Array;
  private readonly keys: ReadonlyMap<string, Uint8Array>;

  /** @param texts one or more `swe1...`, separated by commas or white space, the current one first */
  constructor(
    private readonly primitives: Primitives,
    texts: string | undefined,
  ) {
    const keys = (texts ?? '').split(/[\s,]+/).filter(Boolean);
    if (keys.length === 0) {
      throw new SealwireError(
        'bad_configuration',
        `SEALWIRE_KEK is ${texts === undefined ? 'missing' : 'empty'}: sessions kept in a database need a key-encryption key; make one with "npx sealwire keygen kek".`,
      );
    }
    const parsed = keys.map(parseKeyEncryptionKey);
    this.keys = new Map(parsed.map(({ id, secret }) => [toHex(id), secret]));
    this.ids = [...this.keys.keys()].map(fromHex);
    this.currentId = this.ids[0] as Uint8Array;
  }

  wrap(place: Place, secret: Uint8Array): Uint8Array {
    const salt = this.primitives.random(SALT);
    const identity = encodePlace(place);
    const key = this.rowKey(place, this.currentId, identity, salt);
    return concat(this.currentId, salt, this.primitives.seal(key, NONCE, identity, secret));
  }

  /** @throws SealwireError `bad_configuration` if the KEK is not among ours, `open_failed` if the row was altered */
  unwrap(place: Place, wrapped: Uint8Array): Uint8Array {
    const bytes = Uint8Array.from(wrapped);
    const identity = encodePlace(place);
    const key = this.rowKey(place, bytes.subarray(0, KEY_ID), identity, bytes.subarray(KEY_ID, KEY_ID + SALT));
    try {
      return this.primitives.open(key, NONCE, identity, bytes.subarray(KEY_ID + SALT));
    } catch (cause) {
      const sentence = `${nameOf(place)} does not open: it was altered, or moved there.`;
      // any other row put back, a session's say, may have been ended since
      const advice = place[0] === 'sealwire_key' ? ' Put the row back from a backup.' : '';
      throw new SealwireError('open_failed', sentence + advice, { cause });
    }
  }

  private rowKey(place: Place, id: Uint8Array, identity: Uint8Array, salt: Uint8Array): Uint8Array {
    const secret = this.keys.get(toHex(id));
    if (!secret) {
      throw new SealwireError(
        'bad_configuration',
        `SEALWIRE_KEK does not hold the key-encryption key ${toHex(id)} that wrapped ${nameOf(place)}; add it after the current one.`,
      );
    }
    return this.primitives.hmac(secret, text.encode('row'), identity, salt);
  }
}

/**
 * Asked before a key is written: one wrapped under a key-encryption key that the servers do not hold would be lost to them. The
 * row that the first server makes at its start tells where no server runs.
 * @throws SealwireError `bad_configuration`, `open_failed` if that row was altered
 */
export async function assertSharedKek(query: Query, keys: KeyEncryption): Promise<void> {
  const [row] = await query<{ id: Buffer; wrapped: Buffer }>(
    `SELECT id, wrapped FROM sealwire_key WHERE kind = 'incarnation'`,
  );
  try {
    if (row) keys.unwrap(keyPlace('incarnation', '', toBytes(row.id)), toBytes(row.wrapped));
  } catch (error) {
    if (!row || (error instanceof SealwireError && error.code === 'open_failed')) throw error;
    throw new SealwireError(
      'bad_configuration',
      `The servers do not use this SEALWIRE_KEK: they wrapped their keys under ${toHex(toBytes(row.wrapped).slice(0, KEY_ID))}` +
        `, which it does not hold. Nothing was changed; run this with the servers' SEALWIRE_KEK.`,
    );
  }
  await assertHeld(query, keys);
}

/**
 * Asked before rows are written for servers that run.
 * @throws SealwireError `bad_configuration` if one of them could not open what the current key wraps
 */
export async function assertHeld(query: Query, { currentId }: KeyEncryption): Promise<void> {
  const [lacking] = await query(
    'SELECT 1 FROM sealwire_instance WHERE lease_until > now() AND $1 <> ALL(kek_ids) LIMIT 1',
    [currentId],
  );
  if (!lacking) return;
  throw new SealwireError(
    'bad_configuration',
    `The servers do not use this SEALWIRE_KEK: one that runs does not hold its first key ${toHex(currentId)}. Nothing was` +
      " changed; run this with the servers' SEALWIRE_KEK, or append that key to it on every server first.",
  );
}

/** For people: the table, and as much of the place as tells the row. */
function nameOf([table, ...row]: Place): string {
  const parts = row.slice(0, 3).map((part) => (part instanceof Uint8Array ? toHex(part) : part));
  return `${table} (${parts.filter((part) => part !== undefined && part !== '').join(' ')})`;
}

/** Each part with its length, so that no two places read the same. */
function encodePlace(place: Place): Uint8Array {
  const parts = place.map((part) => {
    const bytes = part instanceof Uint8Array ? part : text.encode(part === undefined ? '' : String(part));
    const head = new Uint8Array(5);
    new DataView(head.buffer).setUint32(1, bytes.length);
    head[0] = part === undefined ? 0 : 1;
    return concat(head, bytes);
  });
  return concat(...parts);
}
