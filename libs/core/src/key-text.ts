import { concat, utf8 } from './bytes.js';
import type { KeyPair, Primitives } from './crypto/primitives.js';
import { SealwireError } from './errors.js';
import { SIZE } from './limits.js';

/**
 * Keys as people handle them: `<type>.<base64url>.<crc32>` (PROTOCOL.md section 2). The type and the checksum stop a
 * passphrase, a truncated paste or a key of another kind before any cryptography sees it.
 */
const KINDS = {
  swk1: { name: 'SecureKey', length: SIZE.keyId + SIZE.key },
  swp1: { name: 'server public key', length: SIZE.key },
  sws1: { name: 'server private key', length: SIZE.key },
  swe1: { name: 'key-encryption key', length: 4 + SIZE.key },
} as const;
export type KeyKind = keyof typeof KINDS;

export interface SecureKey {
  /** 8 random bytes that name the key on the wire */
  readonly keyId: Uint8Array;
  /** 32 random bytes, never sent */
  readonly secret: Uint8Array;
}

export interface KeyEncryptionKey {
  /** 4 random bytes, stored beside what the key wraps */
  readonly id: Uint8Array;
  readonly secret: Uint8Array;
}

/** Text form of a fresh random key of that kind. */
export function generateKeyText(kind: KeyKind, primitives: Primitives): string {
  return formatKeyText(kind, primitives.random(KINDS[kind].length));
}

export function formatKeyText(kind: KeyKind, bytes: Uint8Array): string {
  const encoded = btoa(String.fromCharCode(...bytes))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '');
  return `${kind}.${encoded}.${crc32(concat(utf8(kind), bytes))
    .toString(16)
    .padStart(8, '0')}`;
}

/** @throws SealwireError `bad_key` with a sentence that says what was expected; it never repeats the text. */
export function parseKeyText(kind: KeyKind, text: string): Uint8Array {
  const { name, length } = KINDS[kind];
  const [type, encoded = '', checksum, ...rest] = String(text).trim().split('.');
  if (type !== kind || checksum === undefined || rest.length > 0 || !/^[A-Za-z0-9_-]+$/.test(encoded)) {
    throw new SealwireError(
      'bad_key',
      `A ${name} has the form ${kind}.<base64url>.<crc32>; make one with "npx sealwire keygen". Passphrases are refused.`,
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

export function parseSecureKey(text: string): SecureKey {
  const bytes = parseKeyText('swk1', text);
  return { keyId: bytes.slice(0, SIZE.keyId), secret: bytes.slice(SIZE.keyId) };
}

export function parseKeyEncryptionKey(text: string): KeyEncryptionKey {
  const bytes = parseKeyText('swe1', text);
  return { id: bytes.slice(0, 4), secret: bytes.slice(4) };
}

/** @returns the 32-byte X25519 public key */
export function parseServerPublicKey(text: string): Uint8Array {
  return parseKeyText('swp1', text);
}

export function parseServerPrivateKey(text: string, primitives: Primitives): KeyPair {
  return primitives.x25519KeyPair(parseKeyText('sws1', text));
}

/** First 4 bytes of SHA-256 over the public key: how step 1 names it (PROTOCOL.md section 2). */
export function serverKeyId(publicKey: Uint8Array, primitives: Primitives): Uint8Array {
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
