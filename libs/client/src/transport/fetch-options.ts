import { SealwireError, unknownOption } from '@sealwire/core/calls';

/** Browsers send no request streams, but for one over HTTP/2; one of them sends another body without an error. */
export const IS_NODE =
  (globalThis as { process?: { versions?: { node?: string } } }).process?.versions?.node !== undefined;

/** Options of {@link fetchTransport}. Those of `fetch` concern browsers; Node's keeps no cookies and has no page. */
export interface FetchTransportOptions {
  /** bytes of an answer that are read at most; a longer result ends its call with `too_large` (default 64 MiB) */
  readonly maxResponse?: number;
  /** the `fetch` that is called (default: the global one at the time of each request) */
  readonly fetch?: typeof fetch;
  /**
   * Which cookies go along (default `same-origin`). `include` sends them to another origin too, whose CORS rules must allow it by
   * name.
   */
  readonly credentials?: 'omit' | 'same-origin' | 'include';
  /**
   * Requests go on when the page is left (default false). It applies as long as the bodies under way are 60,000 bytes together, for
   * browsers allow 64 KiB and refuse larger requests altogether; others go as usual.
   */
  readonly keepalive?: boolean;
  /** how urgent the browser takes the requests to be (default `auto`) */
  readonly priority?: 'high' | 'low' | 'auto';
  /** `same-origin` refuses every other origin (default `cors`) */
  readonly mode?: 'cors' | 'same-origin';
  /** how much of the page's address goes along (default: the page's own policy) */
  readonly referrerPolicy?: ReferrerPolicy;
}

type FetchOption = 'credentials' | 'keepalive' | 'priority' | 'mode' | 'referrerPolicy';
type ReferrerPolicy =
  | 'no-referrer'
  | 'origin'
  | 'same-origin'
  | 'strict-origin'
  | 'strict-origin-when-cross-origin'
  | 'no-referrer-when-downgrade'
  | 'origin-when-cross-origin'
  | 'unsafe-url';

const CHOICES: Readonly<Record<FetchOption, readonly unknown[]>> = {
  credentials: ['omit', 'same-origin', 'include'],
  keepalive: [true, false],
  priority: ['high', 'low', 'auto'],
  mode: ['cors', 'same-origin'],
  referrerPolicy: [
    'no-referrer',
    'origin',
    'same-origin',
    'strict-origin',
    'strict-origin-when-cross-origin',
    'no-referrer-when-downgrade',
    'origin-when-cross-origin',
    'unsafe-url',
  ],
};

/** @throws SealwireError `bad_configuration` for an option that does not exist, or a value that it does not take */
export function initOf(options: FetchTransportOptions): RequestInit {
  unknownOption(options, ['maxResponse', 'fetch', ...Object.keys(CHOICES)], 'fetchTransport');
  const { maxResponse, fetch } = options;
  if (maxResponse !== undefined && !(Number.isSafeInteger(maxResponse) && maxResponse > 0)) {
    throw refused('maxResponse', 'a number of bytes above 0');
  }
  if (fetch !== undefined && typeof fetch !== 'function') throw refused('fetch', 'a function');
  const init: Record<string, unknown> = {};
  for (const [name, choices] of Object.entries(CHOICES)) {
    const value = options[name as FetchOption];
    if (value === undefined) continue;
    if (!choices.includes(value)) throw refused(name, `one of ${choices.join(', ')}`);
    init[name] = value;
  }
  return init;
}

function refused(option: string, wanted: string): SealwireError {
  return new SealwireError('bad_configuration', `fetchTransport: ${option} must be ${wanted}.`);
}
