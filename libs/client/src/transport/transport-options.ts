import { knownOptions, SealwireError } from '@sealwire/core/calls';

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

/** What an option takes, and how that is said. */
export type Rule = readonly [takes: (value: unknown) => boolean, wanted: string];

export const BYTES: Rule = [
  (value) => Number.isSafeInteger(value) && (value as number) > 0,
  'a number of bytes above 0, without a fraction',
];
export const FUNCTION: Rule = [(value) => typeof value === 'function', 'a function'];
export const HEADERS: Rule = [
  (value) => typeof value === 'function' || hasNames(value),
  'an object of names and texts, or a function that returns one',
];
export const SWITCH: Rule = [(value) => typeof value === 'boolean', 'true or false'];

/** Whether what it says stands in its properties: a `Headers`, a Map or an array has nothing of its own there. */
export function hasNames(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !(Symbol.iterator in value);
}

/**
 * @param what the function whose options they are
 * @param rules of all options that there are; those without a rule are checked by the caller
 * @returns the options that were given, and none of `Object.prototype`
 * @throws SealwireError `bad_configuration` for an option that does not exist, or a value that it does not take
 */
export function checkOptions<T extends object>(
  what: string,
  given: T,
  rules: Readonly<Record<string, Rule | undefined>>,
): T {
  const options = knownOptions(given, Object.keys(rules), what);
  for (const [name, rule] of Object.entries(rules)) {
    const value = (options as Record<string, unknown>)[name];
    if (rule && value !== undefined && !rule[0](value)) throw refused(what, name, rule[1]);
  }
  return options;
}

/** Whether a value has a method, as every class of a library in whatever version has. */
export function hasMethod(value: unknown, name: string): boolean {
  return typeof (value as Record<string, unknown> | null)?.[name] === 'function';
}

/** Of {@link FetchTransportOptions}. */
export const FETCH: Readonly<Record<string, Rule>> = {
  maxResponse: BYTES,
  fetch: FUNCTION,
  ...Object.fromEntries(
    Object.entries(CHOICES).map(([name, choices]) => [
      name,
      [(value: unknown) => choices.includes(value), `one of ${choices.join(', ')}`] as const,
    ]),
  ),
};

function refused(what: string, option: string, wanted: string): SealwireError {
  return new SealwireError('bad_configuration', `${what}: ${option} must be ${wanted}.`);
}
