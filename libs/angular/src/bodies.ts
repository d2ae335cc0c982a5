import { HttpBackend, type HttpEvent, HttpEventType, type HttpHandler, type HttpRequest } from '@angular/common/http';
import type { Injector } from '@angular/core';
import { type Observable, tap } from 'rxjs';
import { CARRIED } from './live-requests.js';

const FAULTS = {
  request: 'replaced the body of a sealed request',
  answer: 'altered the body of an answer',
  cache: 'answered from a cache, or in the place of the server,',
};
/** Milliseconds from the first byte of an answer on. */
const SLOW_MS = 2_000;
/** Answers whose first bytes are remembered. */
const REMEMBERED = 100;
const watches = new WeakMap<HttpHandler, BodyWatch>();

/** Tells the developer of interceptors and service workers that alter or cache sealed bodies, once of each kind. */
export class BodyWatch {
  readonly #told = new Set<keyof typeof FAULTS>();
  #isSlowTold = false;
  readonly #begun = new WeakMap<object, Journey>();
  /** the request that a body answered */
  readonly #owners = new WeakMap<object, object>();
  /** the same by first bytes: no two sealed answers have them in common */
  readonly #answered = new Map<string, WeakRef<object>>();

  /** The watch of a backend, which every request reaches behind the last interceptor. */
  static of(injector: Injector): BodyWatch {
    const backend = injector.get(HttpBackend);
    const known = watches.get(backend);
    if (known) return known;
    const watch = new BodyWatch();
    watches.set(backend, watch);
    const handle = backend.handle.bind(backend);
    backend.handle = (request) => watch.#pass(request, handle(request));
    return watch;
  }

  /**
   * @param message the same object each time its bytes are sent
   * @param body the bytes as HttpClient gets them
   */
  begin(module: string, message: object, body: object): Journey {
    const journey = new Journey(this, module, message, body);
    this.#begun.set(body, journey);
    return journey;
  }

  #pass(request: HttpRequest<unknown>, events: Observable<HttpEvent<unknown>>): Observable<HttpEvent<unknown>> {
    // an interceptor may have put another context in place of the request's
    const journey = request.context.get(CARRIED)?.journey ?? this.#begun.get(request.body as object);
    if (journey?.watch !== this) return events;
    return journey.pass(request, events);
  }

  tell(fault: keyof typeof FAULTS, module: string): void {
    if (this.#told.has(fault)) return;
    this.#told.add(fault);
    console.warn(
      `Sealwire: an interceptor or a service worker ${FAULTS[fault]} of module "${module}". Sealed requests and their answers ` +
        'must pass as they are: interceptors leave alone what has SEALED_REQUEST in its context.',
    );
  }

  /** An answer has begun, and is handed out when it is complete. */
  tellSlow(module: string): void {
    if (this.#isSlowTold) return;
    this.#isSlowTold = true;
    console.warn(
      `Sealwire: an answer of module "${module}" is still arriving after ${SLOW_MS / 1000} s, and HttpClient hands it out when it is ` +
        'complete. Results that stream need sealwireStreams in withInterceptors([...]), or withFetch() of @sealwire/angular.',
    );
  }

  /** Whether the body answered another request before. @param isSealed no two requests have the same answer */
  isKnown(body: object, request: object, isSealed: boolean): boolean {
    const owner = this.#owners.get(body);
    this.#owners.set(body, owner ?? request);
    if (owner) return owner !== request;
    if (!isSealed || !isBuffer(body)) return false;
    const start = `${body.byteLength} ${new Uint8Array(body, 0, Math.min(body.byteLength, 64))}`;
    const first = this.#answered.get(start);
    if (first) return first.deref() !== request;
    this.#answered.set(start, new WeakRef(request));
    const [oldest] = this.#answered.keys();
    if (this.#answered.size > REMEMBERED && oldest !== undefined) this.#answered.delete(oldest);
    return false;
  }
}

/** One sealed request between the transport and the backend. */
export class Journey {
  #hasLeft = false;
  #slow: ReturnType<typeof setTimeout> | undefined;
  readonly #came: unknown[] = [];

  constructor(
    readonly watch: BodyWatch,
    readonly module: string,
    private readonly message: object,
    private readonly body: object,
  ) {}

  /** A request as a backend gets it, and what the backend answers. */
  pass(request: HttpRequest<unknown>, events: Observable<HttpEvent<unknown>>): Observable<HttpEvent<unknown>> {
    this.left(request.body);
    if (request.responseType !== 'arraybuffer') this.watch.tell('answer', this.module);
    return events.pipe(
      tap({
        next: (event) => event.type === HttpEventType.Response && this.came(event.body),
        error: (error: { readonly error?: unknown }) => this.came(error.error),
      }),
    );
  }

  left(body: unknown): void {
    this.#hasLeft = true;
    if (!isSame(body, this.body)) this.watch.tell('request', this.module);
  }

  /** Not called of answers that `sealwireStreams` reads. */
  arrives(): void {
    this.#slow ??= setTimeout(() => this.watch.tellSlow(this.module), SLOW_MS);
  }

  /** The request is over, answered or not. */
  rests(): void {
    clearTimeout(this.#slow);
  }

  came(body: unknown): void {
    this.#came.push(body);
  }

  /** @param isSealed see {@link BodyWatch.isKnown} @param isError an interceptor may refuse a request in any words */
  ends(body: unknown, isSealed: boolean, isError: boolean): void {
    if (isError && !this.#hasLeft) return;
    const { watch, module } = this;
    if (typeof body !== 'object' || body === null) {
      // an error that an interceptor made may have no body
      if (body !== null && body !== undefined) watch.tell('answer', module);
    } else if (watch.isKnown(body, this.message, isSealed)) watch.tell('cache', module);
    else if (this.#came.length > 0) {
      if (!this.#came.some((one) => isSame(one, body))) watch.tell('answer', module);
    } else if (!this.#hasLeft) watch.tell('cache', module);
  }
}

/** Of any realm: jsdom's requests answer with buffers of their own. */
export function isBuffer(body: unknown): body is ArrayBuffer {
  return Object.prototype.toString.call(body) === '[object ArrayBuffer]';
}

function isSame(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (!isBuffer(a) || !isBuffer(b) || a.byteLength !== b.byteLength) return false;
  const other = new Uint8Array(b);
  return new Uint8Array(a).every((byte, i) => byte === other[i]);
}
