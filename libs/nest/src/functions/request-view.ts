import { REQUEST_CONTEXT_ID } from '../quirks/nest.js';

const OUTER = Symbol('outer request');

type View = Record<PropertyKey, unknown> & { readonly [OUTER]: Record<string, unknown> };

/**
 * The request of one call: everything of the request that brought the message can be read on it, and what is written on it stays
 * in this call. Works for Express, whose request is Node's own, and for Fastify, which keeps Node's own as `raw`.
 *
 * @param response what stands for the response of this call; the real one must not be in reach, it writes plaintext
 */
export function requestView(outer: object, response: object): object {
  const raw = (outer as { raw?: unknown }).raw;
  if (typeof raw !== 'object' || raw === null) return nodeView(outer, response);
  // Fastify's own getters read headers of `raw`
  return Object.assign(Object.create(outer, FASTIFY_REQUEST), { [OUTER]: outer, raw: nodeView(raw, response) });
}

function nodeView(outer: object, response: object): object {
  return Object.assign(Object.create(outer, NODE_REQUEST), { [OUTER]: outer, res: response });
}

/** Objects that applications write into, copied when they are first asked for. */
function copied(name: string): PropertyDescriptor {
  return {
    configurable: true,
    enumerable: true,
    get(this: View) {
      const value = this[OUTER][name];
      if (typeof value !== 'object' || value === null) return value;
      return own(this, name, Object.assign(Object.create(Object.getPrototypeOf(value)), value));
    },
    set(this: View, value: unknown) {
      own(this, name, value);
    },
  };
}

function own(view: View, name: string, value: unknown): unknown {
  Object.defineProperty(view, name, { configurable: true, enumerable: true, writable: true, value });
  return value;
}

/** Listeners hear the message's own events, which Node emits on the outer request. */
function delegated(name: string): PropertyDescriptor {
  return {
    configurable: true,
    writable: true,
    value(this: View, ...args: unknown[]) {
      (this[OUTER][name] as (...args: unknown[]) => unknown).apply(this[OUTER], args);
      return this;
    },
  };
}

const blank = (): PropertyDescriptor => ({ configurable: true, writable: true, value: undefined });

const COMMON = {
  [OUTER]: blank(),
  // a scope that a middleware made for the message is not that of a call
  [REQUEST_CONTEXT_ID]: blank(),
  // of the message: bytes, or the calls of others
  body: blank(),
  params: copied('params'),
  query: copied('query'),
  cookies: copied('cookies'),
  signedCookies: copied('signedCookies'),
};

const FASTIFY_REQUEST: PropertyDescriptorMap = { ...COMMON, raw: blank() };

const NODE_REQUEST: PropertyDescriptorMap = {
  ...COMMON,
  headers: copied('headers'),
  res: blank(),
  // would go on along the route of the message
  next: blank(),
  ...Object.fromEntries(
    ['on', 'addListener', 'once', 'off', 'removeListener', 'prependListener', 'prependOnceListener'].map((name) => [
      name,
      delegated(name),
    ]),
  ),
};
