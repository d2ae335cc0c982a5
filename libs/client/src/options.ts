import type { ClientPrimitives, KeySize, SecureKey } from '@sealwire/core';
import { LIMITS, parseSecureKey, parseServerPublicKey } from '@sealwire/core/calls';
import { badConfiguration, PolicyError } from './errors.js';
import { checkedSource, type MetadataSource } from './metadata.js';
import type { Remote } from './remote.js';
import type { SessionPersistence } from './sessions/state.js';
import { checkUrl, pathOf } from './transport/network.js';
import type { Transport } from './transport/transport.js';
import { checkOptions, FUNCTION, HEADERS, hasMethod, type Rule, SWITCH } from './transport/transport-options.js';

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
   * over `metadata` until `metadata` itself gives something else than what was refused; it gives nothing if `metadata` is a
   * function that knows already. One question serves all calls that were refused meanwhile. Calls of its `remote` go before those
   * that wait for `onSession`, and are not refreshed themselves.
   *
   * @example
   * createRemote<Api>({ url, serverKey, metadata, refresh: async () => ({ authorization: `Bearer ${await newToken()}` }) });
   */
  readonly refresh?: (remote: Remote<Api>) => unknown;
  /**
   * Runs after each handshake, before the calls that wait for it; its own calls go first. `metadata` that is a function is asked
   * anew for those that waited. If it fails, they are rejected with `on_session_failed`, and the next call has it run again.
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

/** Rules of all options, so that the compiler misses one that is added above; those without are checked below. */
const RULES: Record<keyof RemoteOptions, Rule | undefined> = {
  url: undefined,
  serverKey: undefined,
  secureKey: undefined,
  keySize: [(value) => value === 0 || value === 16 || value === 32, '0, 16 or 32'],
  modulePath: [(value) => typeof value === 'string' && value !== '', 'a text, the path of the module'],
  timeout: undefined,
  connectTimeout: undefined,
  waitForServer: SWITCH,
  transport: [(value) => hasMethod(value, 'send'), 'one, as fetchTransport() gives it: with a method `send`'],
  headers: HEADERS,
  metadata: HEADERS,
  refresh: FUNCTION,
  onSession: FUNCTION,
  persistence: [(value) => hasMethod(value, 'ɵfind'), 'sessionPersistence()'],
  primitives: [(value) => hasMethod(value, 'hmac'), 'ClientPrimitives of @sealwire/core'],
  dangerouslyAllowAnyServer: SWITCH,
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

/** What the platform brings. */
export interface Defaults {
  readonly primitives: ClientPrimitives;
  readonly transport: () => Transport;
}

/** @throws PolicyError or SealwireError with a sentence that says what to do */
export function resolveOptions(given: RemoteOptions, defaults: Defaults, tuning: Partial<Tuning>): Settings {
  const options = checkOptions('createRemote', given, RULES);
  const { url, serverKey, persistence } = options;
  const { keySize = 32, waitForServer = false, headers = {}, timeout = 30_000, connectTimeout = 5_000 } = options;
  const { transport = defaults.transport(), primitives = defaults.primitives } = options;
  if (typeof url !== 'string') throw badConfiguration('url must be a text, the address of the module.');
  if (transport.check) transport.check(url);
  else checkUrl(url);
  const modulePath = options.modulePath ?? lastSegment(url);
  const pins = serverKey === undefined ? [] : [serverKey].flat().map(parseServerPublicKey);
  const secureKey = options.secureKey === undefined ? undefined : parseSecureKey(options.secureKey);
  if (serverKey !== undefined && pins.length !== 1 && pins.length !== 2)
    throw badConfiguration('serverKey takes one key, or two: the old and the new one of a rotation.');
  if (keySize === 0 && options.onSession) throw badConfiguration('keySize 0 has no sessions, so onSession never runs.');
  if (keySize === 0 && options.refresh)
    throw badConfiguration('keySize 0 sends each call once, so refresh is never asked.');
  if (keySize === 0 && persistence)
    throw badConfiguration('persistence needs keySize 16 or 32: keySize 0 has no sessions.');
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
    url,
    modulePath,
    keySize: keySize === 0 ? undefined : keySize,
    pins,
    secureKey,
    timeout: milliseconds('timeout', timeout),
    connectTimeout: milliseconds('connectTimeout', connectTimeout),
    waitForServer,
    transport,
    headers,
    metadata: checkedSource(options.metadata),
    refresh: options.refresh,
    onSession: options.onSession,
    persistence,
    deadline: options.timeout === undefined ? undefined : deadlineOf(milliseconds('timeout', timeout)),
    primitives,
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
