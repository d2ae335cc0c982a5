import { concat, erase } from '../bytes.js';
import { isPending, type Soon } from '../steps.js';
import { type HeldSecret, type NativeKey, opaqueAsync } from './primitives.js';

/** The part of WebCrypto that is used. */
interface Subtle {
  importKey(
    format: 'raw',
    key: Uint8Array,
    algorithm: object,
    extractable: false,
    usages: string[],
  ): PromiseLike<NativeKey>;
  sign(algorithm: 'HMAC', key: NativeKey, data: Uint8Array): PromiseLike<ArrayBuffer>;
}

const subtle = (): Subtle => (globalThis.crypto as unknown as { subtle: Subtle }).subtle;

/**
 * A secret as a key of WebCrypto for HMAC-SHA256 that nobody can export: it can be kept in IndexedDB, and nothing reads its bytes.
 *
 * @example
 * const secret = NativeSecret.of(secrets.clientToServer); // whose bytes are zeros now
 * const { frame } = await run(sealCall({ primitives, keySize: 32, secret }, call, random, body));
 */
export class NativeSecret implements HeldSecret {
  /** @param key of WebCrypto, or the promise of it */
  constructor(readonly key: Soon<NativeKey>) {
    // whoever uses it is told
    if (isPending(key)) key.then(undefined, () => {});
  }

  /** Takes the bytes over and erases them. */
  static of(bytes: Uint8Array): NativeSecret {
    return new NativeSecret(imported(bytes));
  }

  /** @throws SealwireError `open_failed` if the platform refuses */
  mac(...parts: Uint8Array[]): Promise<Uint8Array> {
    return opaqueAsync(async () => new Uint8Array(await subtle().sign('HMAC', await this.key, concat(...parts))));
  }

  next(...parts: Uint8Array[]): NativeSecret {
    return new NativeSecret(this.mac(...parts).then(imported));
  }
}

/** The platform has copied the bytes before it returns. */
function imported(bytes: Uint8Array): PromiseLike<NativeKey> {
  const importing = subtle().importKey('raw', bytes, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign']);
  erase(bytes);
  return importing;
}
