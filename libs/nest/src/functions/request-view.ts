import { REQUEST_CONTEXT_ID } from '../quirks/nest.js';

type Properties = Record<PropertyKey, unknown>;

/** Objects that applications write into, copied when they are first asked for. */
const COPIED = new Set<PropertyKey>(['headers', 'params', 'query', 'cookies', 'signedCookies']);
/**
 * Properties of the message, and of no call: its bytes, or the calls of others; the rest of its route; the scope that a middleware had made for
 * it.
 */
const HIDDEN = new Set<PropertyKey>(['body', 'next', REQUEST_CONTEXT_ID]);
/** Listeners hear the events of the message, which Node emits on the outer request. */
const LISTENING = new Set<PropertyKey>([
  'on',
  'addListener',
  'once',
  'off',
  'removeListener',
  'prependListener',
  'prependOnceListener',
]);

/**
 * The request of one call: everything of the request that brought the message can be read on it, and what is written on it stays
 * in this call. Works for Express, whose request is Node's own, and for Fastify, which keeps Node's own as `raw`.
 *
 * A proxy: as the prototype of another object each request would cost V8 some 25 us.
 *
 * @param response what stands for the response of this call; the real one must not be in reach, it writes plaintext
 * @param metadata of the call: lies over the headers of the outer request
 */
export function requestView(outer: object, response: object, metadata?: Readonly<Record<string, string>>): object {
  const { raw } = outer as { raw?: unknown };
  const fastify = typeof raw === 'object' && raw !== null;
  const node: Properties = { res: response };
  if (metadata) node.headers = { ...((fastify ? raw : outer) as { headers: object }).headers, ...metadata };
  if (!fastify) return new Proxy(node, new Node(outer));
  return new Proxy<Properties>({ raw: new Proxy(node, new Node(raw)) }, new View(outer));
}

/** The target holds what this call wrote, and what is its own from the start. */
class View implements ProxyHandler<Properties> {
  protected readonly outer: Properties;

  constructor(outer: object) {
    this.outer = outer as Properties;
  }

  get(own: Properties, name: PropertyKey, view: Properties): unknown {
    if (Object.hasOwn(own, name)) return own[name];
    if (HIDDEN.has(name)) return undefined;
    return this.read(own, name, view);
  }

  /** Fastify's getters read headers of `raw`, which is a view itself. */
  protected read(own: Properties, name: PropertyKey, view: Properties): unknown {
    const value = Reflect.get(this.outer, name, view);
    return (COPIED.has(name) && name !== 'headers') || this.isLeft(name, value) ? kept(own, name, value) : value;
  }

  /** A container that middleware left for guards to fill (`request.context = {}`). Those of the platform begin with `_`. */
  protected isLeft(name: PropertyKey, value: unknown): boolean {
    return isContainer(value) && typeof name === 'string' && !name.startsWith('_') && Object.hasOwn(this.outer, name);
  }

  set(own: Properties, name: PropertyKey, value: unknown): boolean {
    own[name] = value;
    return true;
  }

  /** A property that is deleted here is still on the outer request. */
  deleteProperty(own: Properties, name: PropertyKey): boolean {
    own[name] = undefined;
    return true;
  }

  has(own: Properties, name: PropertyKey): boolean {
    return name in own || name in this.outer;
  }

  getPrototypeOf(): object | null {
    return Object.getPrototypeOf(this.outer);
  }

  ownKeys(own: Properties): (string | symbol)[] {
    return [...new Set([...Reflect.ownKeys(own), ...Reflect.ownKeys(this.outer)])];
  }

  getOwnPropertyDescriptor(own: Properties, name: PropertyKey): PropertyDescriptor | undefined {
    const descriptor = Reflect.getOwnPropertyDescriptor(own, name);
    if (descriptor) return descriptor;
    const outer = Reflect.getOwnPropertyDescriptor(this.outer, name);
    if (!outer) return undefined;
    const value = HIDDEN.has(name) ? undefined : this.read(own, name, this.outer);
    // what the target does not have must be configurable
    return { configurable: true, writable: true, enumerable: outer.enumerable ?? false, value };
  }
}

class Node extends View {
  protected override read(own: Properties, name: PropertyKey, view: Properties): unknown {
    const value = Reflect.get(this.outer, name, view);
    if (COPIED.has(name) || this.isLeft(name, value)) return kept(own, name, value);
    return LISTENING.has(name) ? listening(this.outer, value as Method, view) : value;
  }
}

type Method = (...args: unknown[]) => unknown;

function kept(own: Properties, name: PropertyKey, value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  own[name] = copyOf(value);
  return own[name];
}

function copyOf(value: object): object {
  if (value instanceof Map) return new Map(value);
  if (value instanceof Set) return new Set(value);
  return Array.isArray(value) ? [...value] : Object.assign(Object.create(Object.getPrototypeOf(value)), value);
}

/** Whatever has a class of its own is shared: a copy could lack its private fields. */
function isContainer(value: unknown): value is object {
  if (typeof value !== 'object' || value === null) return false;
  const prototype = Object.getPrototypeOf(value);
  return prototype === null || CONTAINERS.has(prototype);
}

const CONTAINERS = new Set<unknown>([Object.prototype, Array.prototype, Map.prototype, Set.prototype]);

function listening(outer: Properties, method: Method, view: Properties): Method {
  return (...args) => {
    method.apply(outer, args);
    return view;
  };
}

/**
 * Names that metadata must not take: what they say is the connection's, a proxy's or a browser's word, which the guards of an
 * application rely on. The first group is that of the Fetch standard's forbidden request headers.
 */
const REFUSED = new Set(
  [
    'accept-charset accept-encoding connection content-length cookie cookie2 date dnt expect host keep-alive origin referer',
    'set-cookie te trailer transfer-encoding upgrade via',
    // of the message, whose body is another than the call's
    'content-type content-encoding content-range content-md5',
    // what a proxy tells of the client
    'forwarded client-ip true-client-ip remote-user do-connecting-ip incap-client-ip wl-proxy-client-ip x-host x-scheme x-jwt-payload',
    'http2-settings x-http-method x-http-method-override x-method-override',
  ].flatMap((names) => names.split(' ')),
);
const PREFIXES = [
  'proxy- sec- access-control- x-forwarded x-real- x-client- x-cluster- x-original- x-remote- x-auth-request- x-authenticated-',
  'x-ssl- ssl- x-tls- x-envoy- x-amzn- x-amz- x-goog- x-appengine- x-ms- x-azure- x-arr- x-vercel- x-nf- x-akamai- akamai- cf- fastly- fly-',
  'x-webauth- x-authentik- x-pomerium- tailscale- x-consumer- x-credential- x-endpoint-api- x-apigateway- x-userinfo l5d- oidc_ oidc-',
  // of RFC 9440, and of nginx and Apache
  'client-cert ssl_ x-rewrite- x-cdn- ali-cdn-',
].flatMap((prefixes) => prefixes.split(' '));

/**
 * The first name of a call's metadata that may not be there.
 * @param refused further names in lower case, of the option `refusedMetadata`
 */
export function refusedName(
  metadata: Readonly<Record<string, string>>,
  refused: ReadonlySet<string>,
): string | undefined {
  return Object.keys(metadata).find(
    (name) => REFUSED.has(name) || refused.has(name) || PREFIXES.some((prefix) => name.startsWith(prefix)),
  );
}
