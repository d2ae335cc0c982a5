import { concat, utf8 } from './bytes.js';
import type { ClientPrimitives, KeyPair, Primitives } from './crypto/primitives.js';
import { SealwireError } from './errors.js';
import { SIZE } from './limits.js';

const KEK_ID = 4;

/**
 * Keys as people handle them: `<type>.<base64url>.<crc32>` (PROTOCOL.md section 2). The type and the checksum stop a
 * passphrase, a truncated paste or a key of another kind before any cryptography sees it.
 */
const KINDS = {
  swk1: { name: 'SecureKey', length: SIZE.keyId + SIZE.key },
  swp1: { name: 'server public key', length: SIZE.key },
  sws1: { name: 'server private key', length: SIZE.key },
  swe1: { name: 'key-encryption key', length: KEK_ID + SIZE.key },
} as const;
/**
 * The first part of a key text: `swk1` SecureKey, `swp1` server public key, `sws1` server private key, `swe1` key-encryption key.
 */
export type KeyKind = keyof typeof KINDS;

/** A secret that client and server hold beforehand (PROTOCOL.md section 2). */
export interface SecureKey {
  /** 8 random bytes that name the key on the wire */
  readonly keyId: Uint8Array;
  /** 32 random bytes, never sent */
  readonly secret: Uint8Array;
}

/** The key under which a server wraps the secrets that its database keeps (PROTOCOL.md appendix E.6). */
export interface KeyEncryptionKey {
  /** 4 random bytes, stored beside what the key wraps */
  readonly id: Uint8Array;
  readonly secret: Uint8Array;
}

/**
 * Makes a fresh random key of that kind and returns its text.
 *
 * A server's public key text is not random: make it from the private key, as in the example.
 * @example
 * const secureKey = generateKeyText('swk1', primitives); // swk1.<base64url>.<crc32>
 * const serverKey = generateKeyText('sws1', primitives);
 * const { publicKey } = parseServerPrivateKey(serverKey, primitives);
 * const pin = formatKeyText('swp1', publicKey);
 */
export function generateKeyText(kind: KeyKind, primitives: ClientPrimitives): string {
  return formatKeyText(kind, primitives.random(KINDS[kind].length));
}

/**
 * Writes a key as text, `<kind>.<base64url>.<crc32>` (PROTOCOL.md section 2).
 *
 * @param bytes the raw key, of the length that the kind has; {@link parseKeyText} refuses every other length
 * @example
 * const { publicKey } = primitives.x25519KeyPair(primitives.random(32));
 * formatKeyText('swp1', publicKey); // swp1.<base64url>.<crc32>
 */
export function formatKeyText(kind: KeyKind, bytes: Uint8Array): string {
  const encoded = btoa(String.fromCharCode(...bytes))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '');
  return `${kind}.${encoded}.${crc32(concat(utf8(kind), bytes))
    .toString(16)
    .padStart(8, '0')}`;
}

/**
 * Reads a key text of one kind. White space around it is ignored.
 *
 * @returns the raw bytes of the key
 * @throws SealwireError `bad_key` with a sentence that says what was expected; it never repeats the text
 * @example
 * parseKeyText('swe1', process.env.SEALWIRE_KEK ?? ''); // 36 bytes: id 4, secret 32
 */
export function parseKeyText(kind: KeyKind, text: string): Uint8Array {
  const { name, length } = KINDS[kind];
  const [type, encoded = '', checksum, ...rest] = String(text).trim().split('.');
  if (type !== kind || checksum === undefined || rest.length > 0 || !/^[A-Za-z0-9_-]+$/.test(encoded)) {
    const other = Object.hasOwn(KINDS, type ?? '') && type !== kind ? `This is a ${KINDS[type as KeyKind].name}. ` : '';
    throw new SealwireError(
      'bad_key',
      `${other}A ${name} has the form ${kind}.<base64url>.<crc32>; make one with "npx sealwire keygen". Passphrases are refused.`,
    );
  }
  let bytes: Uint8Array | undefined;
  try {
    bytes = Uint8Array.from(atob(encoded.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0));
  } catch {
    // falls through to the same refusal as a wrong checksum
  }
  if (bytes?.length !== length || formatKeyText(kind, bytes) !== `${type}.${encoded}.${checksum}`) {
    throw new SealwireError('bad_key', `This ${name} is damaged: its length or checksum is wrong.`);
  }
  return bytes;
}

/**
 * Reads a SecureKey from its text, `swk1.<base64url>.<crc32>`.
 *
 * @throws SealwireError `bad_key`, as {@link parseKeyText}
 * @example
 * const { keyId, secret } = parseSecureKey(process.env.SEALWIRE_SECURE_KEY ?? '');
 */
export function parseSecureKey(text: string): SecureKey {
  const bytes = parseKeyText('swk1', text);
  return { keyId: bytes.slice(0, SIZE.keyId), secret: bytes.slice(SIZE.keyId) };
}

/**
 * Reads a key-encryption key from its text, `swe1.<base64url>.<crc32>`.
 *
 * @throws SealwireError `bad_key`, as {@link parseKeyText}
 * @example
 * const { id, secret } = parseKeyEncryptionKey(process.env.SEALWIRE_KEK ?? '');
 */
export function parseKeyEncryptionKey(text: string): KeyEncryptionKey {
  const bytes = parseKeyText('swe1', text);
  return { id: bytes.slice(0, KEK_ID), secret: bytes.slice(KEK_ID) };
}

/**
 * Reads the key that a client pins from its text, `swp1.<base64url>.<crc32>`.
 *
 * @returns the X25519 public key, 32 bytes
 * @throws SealwireError `bad_key`, as {@link parseKeyText}
 * @example
 * const serverKey = parseServerPublicKey(process.env.SEALWIRE_SERVER_PUBLIC_KEY ?? '');
 */
export function parseServerPublicKey(text: string): Uint8Array {
  return parseKeyText('swp1', text);
}

/**
 * Reads a server's key pair from the text of its private half, `sws1.<base64url>.<crc32>`.
 *
 * @throws SealwireError `bad_key`, as {@link parseKeyText}
 * @example
 * const { publicKey } = parseServerPrivateKey(process.env.SEALWIRE_SERVER_KEY ?? '', primitives);
 * console.log(`Clients pin ${formatKeyText('swp1', publicKey)}.`);
 */
export function parseServerPrivateKey(text: string, primitives: Primitives): KeyPair {
  return primitives.x25519KeyPair(parseKeyText('sws1', text));
}

/**
 * The first 4 bytes of SHA-256 over a public key, by which step 1 names it (PROTOCOL.md section 1.3).
 *
 * @example
 * const pin = serverKeyId(parseServerPublicKey('swp1...'), primitives);
 */
export function serverKeyId(publicKey: Uint8Array, primitives: ClientPrimitives): Uint8Array {
  return primitives.sha256(publicKey).slice(0, SIZE.serverKeyId);
}

/** CRC-32 of ISO 3309, as in zlib: finds typing errors, protects nothing. */
function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return (crc ^ 0xffffffff) >>> 0;
}
