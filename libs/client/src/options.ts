import type { ClientPrimitives, KeySize, SecureKey } from '@sealwire/core';
import { knownOptions, LIMITS, parseSecureKey, parseServerPublicKey } from '@sealwire/core/calls';
import { badConfiguration, PolicyError } from './errors.js';
import { checkedSource, type MetadataSource } from './metadata.js';
import type { Remote } from './remote.js';
import type { SessionPersistence } from './sessions/state.js';
import { checkUrl, pathOf } from './transport/network.js';
import { fetchTransport, type Transport } from './transport/transport.js';
import { hasMethod } from './transport/transport-options.js';

type Headers = Readonly<Record<string, string>>;

/** Options of `createRemote`. A client needs `serverKey` or `secureKey`; with both, the two sides know each other. */
// biome-ignore lint/suspicious/noExplicitAny: options that were written apart from their remote fit every one
export interface RemoteOptions<Api = any> {
  /** address of the module, for example `https://api.example.com/remote/payments` */
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
  /** milliseconds that the server has to answer one try of a handshake's first step (default 5000) */
  readonly connectTimeout?: number;
  /**
   * Whether the first call waits, within its `timeout`, for a server that is not there yet (default false: it ends with
   * `unreachable` after two tries). Once the server has answered, every call waits.
   */
  readonly waitForServer?: boolean;
  /** default: `httpTransport()` on Node, `fetchTransport()` elsewhere */
  readonly transport?: Transport;
  /** sent in clear with every request, for proxies on the way */
  readonly headers?: Headers | (() => Headers);
  /** sent under the seal with every call, as the headers that guards and decorators of that call see */
  readonly metadata?: MetadataSource;
  /**
   * Asked when a guard refused a call as unauthorized, before the call is sent once more. What it gives, or promises, is laid
   * over `metadata` from then on; it gives nothing if `metadata` is a function that knows already. One question serves all calls
   * that were refused meanwhile.
   *
   * @example
   * createRemote<Api>({ url, serverKey, metadata, refresh: async () => ({ authorization: `Bearer ${await newToken()}` }) });
   */
  readonly refresh?: () => unknown;
  /**
   * Runs after each handshake, before the calls that wait for it; its own calls go first. If it fails, those calls are rejected
   * with `on_session_failed`, and the next call has it run again.
   *
   * @example
   * createRemote<Api>({ url, serverKey, onSession: (remote) => remote.login(token) });
   */
  readonly onSession?: (remote: Remote<Api>) => unknown;
  /**
   * `sessionPersistence()` of `@sealwire/client/persistence`: keeps the session over reloads of a page (default: a reload begins
   * with a handshake)
   */
  readonly persistence?: SessionPersistence;
  /** default: node:crypto on Node, WebCrypto elsewhere, and noble for what that lacks */
  readonly primitives?: ClientPrimitives;
  /** Connects without any key: whoever answers is taken for the server. For experiments only. */
  readonly dangerouslyAllowAnyServer?: true;
}

// a record, so that the compiler misses an option that is added above
const KNOWN: Record<keyof RemoteOptions, true> = {
  url: true,
  serverKey: true,
  secureKey: true,
  keySize: true,
  modulePath: true,
  timeout: true,
  connectTimeout: true,
  waitForServer: true,
  transport: true,
  headers: true,
  metadata: true,
  refresh: true,
  onSession: true,
  persistence: true,
  primitives: true,
  dangerouslyAllowAnyServer: true,
};

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
  readonly connectTimeout: number;
  readonly waitForServer: boolean;
  readonly transport: Transport;
  readonly headers: Headers | (() => Headers);
  readonly metadata: MetadataSource | undefined;
  readonly refresh: RemoteOptions['refresh'];
  readonly onSession: RemoteOptions['onSession'];
  readonly persistence: SessionPersistence | undefined;
  /** milliseconds that travel as the deadline of every call; undefined if the application set no time */
  readonly deadline: number | undefined;
  readonly primitives: ClientPrimitives;
  readonly tuning: Tuning;
}

/** The longest time that `setTimeout` takes. */
export const LONGEST = 2 ** 31 - 1;

/** @throws PolicyError or SealwireError with a sentence that says what to do */
export function resolveOptions(given: RemoteOptions, primitives: ClientPrimitives, tuning: Partial<Tuning>): Settings {
  const options = knownOptions(given, Object.keys(KNOWN), 'createRemote');
  const { keySize = 32, waitForServer = false, headers = {}, transport = fetchTransport() } = options;
  if (typeof options.url !== 'string') throw badConfiguration('url must be a text, the address of the module.');
  if (!hasMethod(transport, 'send')) {
    throw badConfiguration('transport must be one, as fetchTransport() gives it: with a method `send`.');
  }
  if (transport.check) transport.check(options.url);
  else checkUrl(options.url);
  const modulePath = options.modulePath ?? lastSegment(options.url);
  if (keySize !== 0 && keySize !== 16 && keySize !== 32) throw badConfiguration('keySize must be 0, 16 or 32.');
  const pins = [options.serverKey ?? []].flat().map(parseServerPublicKey);
  const secureKey = options.secureKey === undefined ? undefined : parseSecureKey(options.secureKey);
  if (pins.length > 2)
    throw badConfiguration('serverKey takes at most two keys: the old and the new one of a rotation.');
  for (const name of ['refresh', 'onSession'] as const) {
    const hook: unknown = options[name];
    if (hook !== undefined && typeof hook !== 'function') throw badConfiguration(`${name} must be a function.`);
  }
  if (keySize === 0 && options.onSession) throw badConfiguration('keySize 0 has no sessions, so onSession never runs.');
  const { persistence } = options;
  if (persistence !== undefined && (keySize === 0 || !persistence?.ɵfind))
    throw badConfiguration('persistence must be sessionPersistence(), with keySize 16 or 32.');
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
    timeout: milliseconds('timeout', options.timeout ?? 30_000),
    connectTimeout: milliseconds('connectTimeout', options.connectTimeout ?? 5_000),
    waitForServer,
    transport,
    headers,
    metadata: checkedSource(options.metadata),
    refresh: options.refresh,
    onSession: options.onSession,
    persistence,
    deadline: options.timeout === undefined ? undefined : deadlineOf(milliseconds('timeout', options.timeout)),
    primitives: options.primitives ?? primitives,
    tuning: { ...LIMITS, ...tuning },
  };
}

/** @throws SealwireError `bad_configuration` */
export function milliseconds(name: string, value: number): number {
  if (typeof value !== 'number' || !(value > 0))
    throw badConfiguration(`${name} must be a number of milliseconds above 0.`);
  return Math.min(value, LONGEST);
}

/** A time limit as whole milliseconds, at least 1. */
export function deadlineOf(timeout: number): number {
  return Math.max(1, Math.ceil(timeout));
}

function lastSegment(url: string): string {
  const segment = pathOf(url).split('/').filter(Boolean).at(-1);
  if (segment === undefined)
    throw badConfiguration('url must name the module, as in https://example.com/remote/payments.');
  try {
    return decodeURIComponent(segment);
  } catch {
    throw badConfiguration(`The last segment of url, ${segment}, is not well-formed; give modulePath.`);
  }
}
