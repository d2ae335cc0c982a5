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
  /** id of the first key, which wraps; the others only open */
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
    this.currentId = fromHex([...this.keys.keys()][0] ?? '');
  }

  wrap(place: Place, secret: Uint8Array): Uint8Array {
    const salt = this.primitives.random(SALT);
    const identity = encodePlace(place);
    const key = this.rowKey(this.currentId, identity, salt);
    return concat(this.currentId, salt, this.primitives.seal(key, NONCE, identity, secret));
  }

  /** @throws SealwireError `bad_configuration` if the KEK is not among ours, `open_failed` if the row was altered */
  unwrap(place: Place, wrapped: Uint8Array): Uint8Array {
    const bytes = Uint8Array.from(wrapped);
    const identity = encodePlace(place);
    const key = this.rowKey(bytes.subarray(0, KEY_ID), identity, bytes.subarray(KEY_ID, KEY_ID + SALT));
    return this.primitives.open(key, NONCE, identity, bytes.subarray(KEY_ID + SALT));
  }

  private rowKey(id: Uint8Array, identity: Uint8Array, salt: Uint8Array): Uint8Array {
    const secret = this.keys.get(toHex(id));
    if (!secret) {
      throw new SealwireError(
        'bad_configuration',
        `SEALWIRE_KEK does not hold the key-encryption key ${toHex(id)} that wrapped this row; add it after the current one.`,
      );
    }
    return this.primitives.hmac(secret, text.encode('row'), identity, salt);
  }
}

/**
 * Asked before a key is written: one wrapped under a key-encryption key that the servers do not hold would be lost to them. What
 * tells is the row that the first server makes at its start.
 * @throws SealwireError `bad_configuration`
 */
export async function assertSharedKek(query: Query, keys: KeyEncryption): Promise<void> {
  const [row] = await query<{ id: Buffer; wrapped: Buffer }>(
    `SELECT id, wrapped FROM sealwire_key WHERE kind = 'incarnation'`,
  );
  if (!row) return;
  try {
    keys.unwrap(keyPlace('incarnation', '', toBytes(row.id)), toBytes(row.wrapped));
  } catch {
    throw new SealwireError(
      'bad_configuration',
      `The servers do not use this SEALWIRE_KEK: they wrapped their keys under ${toHex(toBytes(row.wrapped).slice(0, KEY_ID))}` +
        `, which it does not hold. Nothing was changed; run this with the servers' SEALWIRE_KEK.`,
    );
  }
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
