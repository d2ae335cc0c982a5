import { EventEmitter } from 'node:events';
import { STATUS_CODES } from 'node:http';
import { Logger } from '@nestjs/common';
import type { Outcome } from '@sealwire/core';
import { holdStreams } from '../streams/sources.js';
import { failureOfResponse, INTERNAL, statusOf } from './outcome.js';

const logger = new Logger('Sealwire');

/** Why a method of a response has no place in a remote function. */
const REFUSED: Record<string, string> = {
  ...each(
    'a sealed result carries no cookies; keep what belongs to the session with @RemoteSession()',
    'cookie setCookie clearCookie',
  ),
  ...each('a sealed result cannot redirect; return the address as a value', 'redirect'),
  ...each('a sealed result has no trailers', 'addTrailers trailer hasTrailer removeTrailer'),
  ...each('a call has no connection of its own', 'assignSocket detachSocket'),
  ...each(
    'a sealed result is one value; return it',
    'write writeContinue writeProcessing writeEarlyHints render view sendFile sendfile download attachment format hijack callNotFound serialize serializer serializeInput compileSerializationSchema getSerializationFunction',
  ),
};

/** Other words for a method. */
const SAME: Record<string, keyof ResponseStandIn> = {
  code: 'status',
  writeHeader: 'writeHead',
  json: 'send',
  jsonp: 'send',
  header: 'set',
  headers: 'set',
  appendHeader: 'append',
  contentType: 'type',
  get: 'getHeader',
  getRawHeaderNames: 'getHeaderNames',
};

/**
 * The response that guards, interceptors and filters of a remote function are given: of Node, of Express and of Fastify in one. What
 * they write becomes the sealed outcome: a filter that answers `response.status(418).json(...)` can never put plaintext on the wire.
 */
export class ResponseStandIn extends EventEmitter {
  statusCode = 200;
  statusMessage = '';
  headersSent = false;
  writableFinished = false;
  destroyed = false;
  closed = false;
  readonly socket = null;
  #req!: object;
  readonly #origin: string;
  #body: unknown;
  #headers: Map<string, unknown> | undefined;
  #locals: object | undefined;
  /** the first that was refused */
  #failure: Error | undefined;
  #wake: (() => void) | undefined;

  /**
   * @param origin `Controller.method`, for sentences
   * @param locals what `locals` begins with
   */
  constructor(origin: string, locals?: object) {
    super();
    this.#origin = origin;
    this.#locals = locals && { ...locals };
  }

  /** The answer that was written, undefined if there is none. */
  outcome(): Outcome | undefined {
    if (this.#failure) {
      // no filter sees what is refused after the function has returned
      logger.error(this.#failure);
      return INTERNAL;
    }
    if (!this.headersSent) return undefined;
    return this.statusCode >= 400 ? failureOfResponse(this.statusCode, this.#body) : { ok: true, value: this.#body };
  }

  /** Forgets what was written; what is written next has this status unless it says another. */
  restart(status: number): void {
    this.headersSent = false;
    this.#body = undefined;
    this.#failure = undefined;
    this.statusCode = status;
  }

  /** @throws Error if something was refused: whoever did it does not learn it there */
  check(): void {
    if (this.#failure) throw this.#failure;
  }

  /**
   * Waits until the answer is written, for a function that does so after it has returned.
   * @param signal ends the wait
   */
  async answered(signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#wake = resolve;
      if (signal.aborted) reject(signal.reason);
      signal.addEventListener('abort', () => reject(signal.reason), { once: true });
    });
    this.check();
  }

  settle(outcome: Outcome): void {
    if (!outcome.ok) this.statusCode = statusOf(outcome);
    this.statusMessage ||= STATUS_CODES[this.statusCode] ?? '';
    this.headersSent = true;
    this.writableFinished = true;
    this.emit('finish');
    this.#close();
  }

  /** The call's request: not a property of its own, or whoever looks for streams in an answer that a function returns would close it. */
  get req(): object {
    return this.#req;
  }

  set req(request: object) {
    this.#req = request;
  }

  get locals(): object {
    this.#locals ??= {};
    return this.#locals;
  }

  set locals(locals: object) {
    this.#locals = locals;
  }

  /** Fastify's and Node's names for what is one here. */
  get raw(): this {
    return this;
  }

  get request(): object {
    return this.req;
  }

  get sent(): boolean {
    return this.headersSent;
  }

  get finished(): boolean {
    return this.headersSent;
  }

  get writableEnded(): boolean {
    return this.headersSent;
  }

  get app(): unknown {
    return (this.req as { app?: unknown }).app;
  }

  get server(): unknown {
    return (this.req as { server?: unknown }).server;
  }

  get log(): unknown {
    return (this.req as { log?: unknown }).log;
  }

  status(code: number): this {
    this.statusCode = code;
    return this;
  }

  sendStatus(code: number): this {
    return this.status(code).send(STATUS_CODES[code] ?? String(code));
  }

  writeHead(code: number, ...rest: unknown[]): this {
    const headers = rest.at(-1);
    if (typeof headers === 'object' && headers !== null) this.set(headers as Record<string, unknown>);
    return this.status(code);
  }

  /** The first body counts, as on a route. */
  send(body?: unknown): this {
    // whoever answers may go on for long
    holdStreams(body);
    if (this.headersSent) return this;
    this.#body = body;
    this.headersSent = true;
    this.#wake?.();
    return this;
  }

  end(body?: unknown, ...rest: unknown[]): this {
    const done = [body, ...rest].find((it) => typeof it === 'function') as (() => void) | undefined;
    if (done) this.once('finish', done);
    return this.send(body === done ? undefined : body);
  }

  /** Headers have no place in a result; they are kept for whoever asks for them again. */
  setHeader(name: string, value: unknown): this {
    this.#headers ??= new Map();
    this.#headers.set(name.toLowerCase(), value);
    return this;
  }

  setHeaders(headers: Iterable<[string, unknown]>): this {
    for (const [name, value] of headers) this.setHeader(name, value);
    return this;
  }

  set(name: string | Record<string, unknown>, value?: unknown): this {
    if (typeof name === 'string') return this.setHeader(name, value);
    return this.setHeaders(Object.entries(name));
  }

  append(name: string, value: unknown): this {
    const before = this.getHeader(name);
    return this.setHeader(name, before === undefined ? value : [before, value].flat());
  }

  vary(field: string | readonly string[]): this {
    const before = this.getHeader('vary');
    return this.setHeader('vary', [before ?? [], field].flat().join(', '));
  }

  type(value: string): this {
    return this.setHeader('content-type', value);
  }

  location(url: string): this {
    return this.setHeader('location', url);
  }

  links(links: Record<string, string>): this {
    return this.append(
      'link',
      Object.entries(links)
        .map(([rel, url]) => `<${url}>; rel="${rel}"`)
        .join(', '),
    );
  }

  getHeader(name: string): unknown {
    return this.#headers?.get(name.toLowerCase());
  }

  getHeaders(): Record<string, unknown> {
    return Object.assign(Object.create(null), Object.fromEntries(this.#headers ?? []));
  }

  getHeaderNames(): string[] {
    return [...(this.#headers?.keys() ?? [])];
  }

  hasHeader(name: string): boolean {
    return this.#headers?.has(name.toLowerCase()) ?? false;
  }

  removeHeader(name: string): this {
    this.#headers?.delete(name.toLowerCase());
    return this;
  }

  flushHeaders(): void {}

  cork(): void {}

  uncork(): void {}

  setTimeout(): this {
    return this;
  }

  destroy(error?: Error): this {
    if (!this.headersSent && !this.destroyed) this.#fail(error ?? new Error(`${this.#origin} destroyed its response.`));
    return this;
  }

  /**
   * One of the members that {@link REFUSED} names. It throws nothing: the caller may be a pipe or a timer, and an error on its stack
   * would end the process.
   */
  protected refuse(method: string, args: readonly unknown[]): this | false {
    const error = new Error(`${this.#origin} called ${method}() on its response: ${REFUSED[method]}.`);
    this.#fail(error, args.find((it) => typeof it === 'function') as (error: Error) => void);
    return method !== 'write' && this;
  }

  /** Ends as a stream that was destroyed does: pipes hear it a tick later, as they expect of a stream of Node. */
  #fail(error: Error, done?: (error: Error) => void): void {
    if (!this.writableFinished) this.#failure ??= error;
    // the outcome is known already
    else if (!this.destroyed) logger.error(error);
    if (!this.destroyed) this.on('error', () => undefined);
    this.destroyed = true;
    this.#wake?.();
    process.nextTick(() => {
      try {
        done?.(error);
        this.emit('error', error);
        this.#close();
      } catch (thrown) {
        logger.error(thrown);
      }
    });
  }

  #close(): void {
    if (this.closed) return;
    this.closed = true;
    this.emit('close');
  }
}

function define(name: string, value: unknown): void {
  Object.defineProperty(ResponseStandIn.prototype, name, { configurable: true, writable: true, value });
}

for (const [name, method] of Object.entries(SAME)) define(name, ResponseStandIn.prototype[method]);

for (const method of Object.keys(REFUSED)) {
  define(method, function (this: { refuse(method: string, args: unknown[]): unknown }, ...args: unknown[]) {
    return this.refuse(method, args);
  });
}

function each(reason: string, methods: string): Record<string, string> {
  return Object.fromEntries(methods.split(' ').map((method) => [method, reason]));
}
