import { inspect } from 'node:util';
import { knownOptions, LIMITS, SealwireError } from '@sealwire/core';
import type { Rate } from './options.js';

export function misconfigured(sentence: string): SealwireError {
  return new SealwireError('bad_configuration', sentence);
}

/** A wrong value, of whatever type, as a sentence about it says it. */
export function shown(value: unknown): string {
  return inspect(value, { depth: 0 });
}

/** @returns the options that were given, and none of `Object.prototype` */
export function named<T>(options: T, known: object | readonly string[], what: string): T & object {
  if (typeof options !== 'object' || options === null) {
    throw misconfigured(`${what} was given no options object; a factory has to return one.`);
  }
  return knownOptions(options, Array.isArray(known) ? known : Object.keys(known), what);
}

/** True, false or left out: an empty environment variable must open nothing, and the text 'false' must not mean true. */
export function switches(
  options: object,
  refuse: (sentence: string) => SealwireError,
  what: string,
  ...names: string[]
): void {
  for (const name of names) {
    const value = (options as Record<string, unknown>)[name];
    if (value === undefined || typeof value === 'boolean') continue;
    throw refuse(`${what}${name} is true or false, got ${shown(value)}.`);
  }
}

/** A key whose environment variable is empty. */
export function filled(value: unknown, what: string): void {
  if (typeof value !== 'string')
    throw misconfigured(`${what}: a key is text, got ${value === null ? 'null' : typeof value}.`);
  if (value.trim() === '') throw misconfigured(`${what}: a key is empty; is its environment variable set?`);
}

export function positive<K extends string>(options: { readonly [key in K]: unknown }, ...names: K[]): void {
  for (const name of names) {
    const value = options[name];
    if (!Number.isSafeInteger(value) || Number(value) <= 0) {
      throw misconfigured(`${name} is a whole number above 0, got ${shown(value)}.`);
    }
  }
}

/** A timer of Node that is set to more milliseconds fires at once. */
export function timed<K extends string>(options: { readonly [key in K]: number }, ...names: K[]): void {
  const name = names.find((name) => options[name] > LIMITS.deadline);
  if (name) throw misconfigured(`${name} is at most ${LIMITS.deadline} milliseconds, 24 days, got ${options[name]}.`);
}

/** RFC 9110, section 5.1 */
const HEADER_NAME = /^[\w!#$%&'*+.^`|~-]+$/;

/** Names of headers in lower case. */
export function headerNames(names: unknown, option: string): ReadonlySet<string> {
  if (!Array.isArray(names) || names.some((name) => typeof name !== 'string' || !HEADER_NAME.test(name))) {
    throw misconfigured(`${option} is an array of header names, such as ['x-user'].`);
  }
  return new Set(names.map((name: string) => name.toLowerCase()));
}

export function rated(rate: unknown, name: string): void {
  if (rate === false) return;
  const none: Rate = { perSecond: 0, burst: 0 };
  const isGiven = typeof rate === 'object' && rate !== null;
  const { perSecond, burst } = isGiven ? named(rate as Rate, Object.keys(none), name) : none;
  if (!(Number.isFinite(perSecond) && perSecond > 0) || !(Number.isFinite(burst) && burst >= 1)) {
    throw misconfigured(`${name} is false or { perSecond, burst }: a number above 0, and one that is 1 at least.`);
  }
}

/** A handshake that brings the calls of a busy client must not fail for its size. */
export function roomy(maxBody: number): void {
  if (maxBody >= LIMITS.body) return;
  throw misconfigured(
    `maxBody is at least ${LIMITS.body} bytes, the room of a handshake with its first calls, got ${maxBody}; limit arguments in the function.`,
  );
}

/** A body that no server would ever take is sent again until its call is over, and nobody knows whether it ran. */
export function held(maxBody: number, maxWaitingBytes: number, what: string): void {
  if (maxBody <= maxWaitingBytes) return;
  throw misconfigured(
    `${what} is ${maxBody} bytes, but all bodies together have ${maxWaitingBytes}: raise maxWaitingBytes.`,
  );
}

export function limited(sessionLifetime: number): void {
  if (sessionLifetime <= LIMITS.sessionSeconds) return;
  throw misconfigured(`sessionLifetime is at most ${LIMITS.sessionSeconds} seconds, got ${sessionLifetime}.`);
}

export function routed(path: unknown): void {
  if (typeof path === 'string' && /^\/*[\w.~-]+(\/[\w.~-]+)*\/*$/.test(path)) return;
  const sentence = "path is the first part of the route, such as 'remote' or 'api/remote', of letters, digits and -._~";
  throw misconfigured(`${sentence}, got ${shown(path)}.`);
}

export function locked(peerLock: string): void {
  if (['none', 'ip', 'forwarded'].includes(peerLock)) return;
  throw misconfigured(`peerLock is 'none', 'ip' or 'forwarded', got ${shown(peerLock)}.`);
}

/** Left out where undefined was given, and without a prototype: what something put on `Object.prototype` was given by nobody. */
export function withoutUndefined<T extends object>(options: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.assign(Object.create(null), Object.fromEntries(given));
}

/** A store that is given by mistake as something else, such as null, would have the sessions end with the process. */
export function stores(store: unknown): void {
  if (store === undefined || Array.isArray((store as { readonly providers?: unknown } | null)?.providers)) return;
  throw misconfigured('store is what typeOrmStore() returns, or left out: an object with providers.');
}

const FUNCTION_SWITCHES = ['idempotent', 'exactlyOnce', 'sealedOnly', 'resumable'] as const;

/** @throws SealwireError for a typing error in `@RemoteFunction()`, which would let a function run more often than once, or unsealed */
export function resolveFunction<T extends object>(given: T, origin: string): T {
  const what = `@RemoteFunction() of ${origin}`;
  const options = named(given, ['name', 'maxUpload', ...FUNCTION_SWITCHES], what);
  switches(options, misconfigured, `${what}: `, ...FUNCTION_SWITCHES);
  const { maxUpload = 1, name = 'x' } = options as { maxUpload?: unknown; name?: unknown };
  if (typeof name !== 'string' || name.length > LIMITS.functionName)
    throw misconfigured(`${what}: name is text of at most ${LIMITS.functionName} characters.`);
  positive({ [`${what}: maxUpload`]: maxUpload }, `${what}: maxUpload`);
  return options;
}
