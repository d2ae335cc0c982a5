import {
  type KeySize,
  LIMITS,
  type Primitives,
  parseSecureKey,
  parseServerPublicKey,
  type SecureKey,
} from '@sealwire/core';
import { LONGEST } from './delivery/interrupt.js';
import { badConfiguration, PolicyError } from './errors.js';
import { fetchTransport, type Transport } from './transport/transport.js';

export interface RemoteOptions {
  /** where the module answers, for example `https://api.example.com/remote/payments` */
  readonly url: string;
  /** public key of the server, `swp1...`; during a rotation two, the preferred one first */
  readonly serverKey?: string | readonly [string] | readonly [string, string];
  /** the secret shared with the server, `swk1...` */
  readonly secureKey?: string;
  /** bytes of every AES key; 0 sends plaintext (default 32) */
  readonly keySize?: 0 | 16 | 32;
  /** the path that the server configured for the module (default: the last segment of `url`) */
  readonly modulePath?: string;
  /** milliseconds that a call may take, with everything that happens under it (default 30000) */
  readonly timeout?: number;
  /** default `fetchTransport()` */
  readonly transport?: Transport;
  /** sent in clear with every request, for proxies on the way */
  readonly headers?: Readonly<Record<string, string>> | (() => Readonly<Record<string, string>>);
  /** default: node:crypto on Node, noble elsewhere */
  readonly primitives?: Primitives;
  /** Connects without any key: whoever answers is taken for the server. For experiments only. */
  readonly dangerouslyAllowAnyServer?: true;
}

/** Limits that only tests lower. */
export interface Tuning {
  readonly epochSeconds: number;
  readonly callsPerEpoch: number;
  readonly bytesPerEpoch: number;
  readonly counter: number;
}

export interface Settings {
  readonly url: string;
  readonly modulePath: string;
  /** undefined: plaintext was asked for */
  readonly keySize: KeySize | undefined;
  readonly pins: readonly Uint8Array[];
  readonly secureKey: SecureKey | undefined;
  readonly timeout: number;
  readonly transport: Transport;
  readonly headers: () => Readonly<Record<string, string>>;
  readonly primitives: Primitives;
  readonly tuning: Tuning;
}

/** @throws PolicyError or SealwireError with a sentence that says what to do */
export function resolveOptions(options: RemoteOptions, primitives: Primitives, tuning: Partial<Tuning>): Settings {
  const { keySize = 32, timeout = 30_000, headers = {} } = options;
  const modulePath = options.modulePath ?? lastSegment(options.url);
  if (keySize !== 0 && keySize !== 16 && keySize !== 32) throw badConfiguration('keySize must be 0, 16 or 32.');
  if (!(timeout > 0)) throw badConfiguration('timeout must be a number of milliseconds above 0.');
  const pins = [options.serverKey ?? []].flat().map(parseServerPublicKey);
  const secureKey = options.secureKey === undefined ? undefined : parseSecureKey(options.secureKey);
  if (pins.length > 2)
    throw badConfiguration('serverKey takes at most two keys: the old and the new one of a rotation.');
  const keyless = pins.length === 0 && !secureKey;
  if (keySize === 0 && !keyless) {
    throw badConfiguration(
      'keySize 0 sends plaintext, so serverKey and secureKey would protect nothing. Leave out one or the other.',
    );
  }
  if (keySize !== 0 && keyless && options.dangerouslyAllowAnyServer !== true) {
    throw new PolicyError(
      'Without serverKey and secureKey anybody on the way could answer as the server. ' +
        'Give one of them (the server logs its public key at start), or both.',
    );
  }
  return {
    url: options.url,
    modulePath,
    keySize: keySize === 0 ? undefined : keySize,
    pins,
    secureKey,
    timeout: Math.min(timeout, LONGEST),
    transport: options.transport ?? fetchTransport(),
    headers: typeof headers === 'function' ? headers : () => headers,
    primitives: options.primitives ?? primitives,
    tuning: { ...LIMITS, ...tuning },
  };
}

function lastSegment(url: string): string {
  const segment = String(url).split(/[?#]/)[0]?.split('/').filter(Boolean).at(-1);
  if (segment === undefined)
    throw badConfiguration('url must name the module, as in https://example.com/remote/payments.');
  return decodeURIComponent(segment);
}
