import { type SessionSecrets, SIZE } from '@sealwire/core';

/** Bytes in one buffer. */
const POOL = 4_096;

let pool = new Uint8Array(POOL);
let used = 0;

/**
 * A copy of short secrets, one behind the other, to keep for long: in one buffer with others, since an array of its own takes 130 bytes
 * more. No place is given out twice, so whoever erases the copy erases nothing else, and whoever holds one that was erased reads zeros.
 */
export function pooled(...secrets: readonly Uint8Array[]): Uint8Array {
  const length = secrets.reduce((sum, secret) => sum + secret.length, 0);
  if (used + length > POOL) {
    pool = new Uint8Array(Math.max(POOL, length));
    used = 0;
  }
  const copy = pool.subarray(used, used + length);
  used += length;
  let at = 0;
  for (const secret of secrets) {
    copy.set(secret, at);
    at += secret.length;
  }
  return copy;
}

/** The one of several secrets that lie one behind the other. */
export function secretAt(secrets: Uint8Array, index: number): Uint8Array {
  return secrets.subarray(index * SIZE.key, (index + 1) * SIZE.key);
}

/** Whoever is given secrets may erase its own. */
export function copyOf({ clientToServer, serverToClient, renewal }: SessionSecrets): SessionSecrets {
  return { clientToServer: clientToServer.slice(), serverToClient: serverToClient.slice(), renewal: renewal.slice() };
}
