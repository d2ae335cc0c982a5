import { fromHex, knownOptions, SealwireError } from '@sealwire/core';
import type { KeySummary, TypeOrmKeyStore } from './key-store.js';
import type { RewrapResult } from './rewrap.js';

/**
 * Administration of the keys in the database, for the application's own operators. Every running server takes a change up
 * within seconds. A SecureKey's sessions end with it; those of a server key that is no longer pinned live on, for the key has no
 * part in them after the handshake.
 *
 * @example
 * import { Injectable } from '@nestjs/common';
 *
 * @Injectable()
 * export class Enrolment {
 *   constructor(private readonly keys: SealwireKeys) {}
 *
 *   // The text of a SecureKey for one more device.
 *   enrol(): Promise<string> {
 *     return this.keys.addSecureKey('payments');
 *   }
 * }
 */
export class SealwireKeys {
  constructor(
    private readonly keys: TypeOrmKeyStore,
    private readonly rewrapAll: () => Promise<RewrapResult>,
    /** whether `forRoot()` gives the server key, so that none of the database's is used */
    private readonly serverKeyConfigured = false,
  ) {}

  /** The server keys and SecureKeys of the database, never their secrets. */
  list(): Promise<KeySummary[]> {
    return this.keys.list();
  }

  /** A new server key; the old ones stay good until then. Answers the public key, which clients pin. */
  async rotateServerKey(options: { readonly validUntil: Date }): Promise<string> {
    const { validUntil } = knownOptions(options, ['validUntil'], 'rotateServerKey');
    if (this.serverKeyConfigured) {
      throw new SealwireError('bad_configuration', 'The serverKey of SealwireModule.forRoot() is rotated there.');
    }
    return this.keys.rotateServerKey({ validUntil: time(validUntil) });
  }

  /** One more SecureKey `swk1...` for clients of the module. */
  addSecureKey(module: string): Promise<string> {
    return this.keys.addSecureKey(module);
  }

  /** A new SecureKey `swk1...`; the module's old ones, or just the one of that keyId, stay good until then. It fails if there is none. */
  async rotateSecureKey(
    module: string,
    options: { readonly validUntil: Date; readonly keyId?: string },
  ): Promise<string> {
    const { validUntil, keyId } = knownOptions(options, ['validUntil', 'keyId'], 'rotateSecureKey');
    const id = keyId === undefined ? {} : { keyId: idOf(keyId) };
    return this.keys.rotateSecureKey(module, { validUntil: time(validUntil), ...id });
  }

  /**
   * Brings every row under the current key-encryption key. In this order nobody is refused, and each step has to be done on every
   * server before the next: append the new key, put it first, rewrap, take the old one away. Can be broken off and run again.
   */
  rewrap(): Promise<RewrapResult> {
    return this.rewrapAll();
  }
}

function time(value: unknown): Date {
  if (value instanceof Date && !Number.isNaN(value.getTime())) return value;
  const sentence = 'validUntil is no valid time. Give the Date until which the old keys stay good.';
  throw new SealwireError('bad_configuration', sentence);
}

function idOf(keyId: unknown): Uint8Array {
  if (typeof keyId === 'string' && /^([0-9a-f]{2})+$/i.test(keyId)) return fromHex(keyId);
  // not repeated: it may be a key
  const sentence = 'keyId is hexadecimal text, as list() gives it, and something else was given.';
  throw new SealwireError('bad_configuration', sentence);
}
