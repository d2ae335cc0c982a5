import {
  FetchBackend,
  HttpBackend,
  HttpContextToken,
  HttpErrorResponse,
  type HttpEvent,
  HttpHeaders,
  type HttpInterceptorFn,
  type HttpRequest,
  HttpResponse,
  HttpXhrBackend,
} from '@angular/common/http';
import { inject, NgZone } from '@angular/core';
import { Observable } from 'rxjs';
import type { Journey } from './bodies.js';
import { bare } from './options.js';

/** What the transport tells the interceptor below of one request. */
export interface Carried {
  /** also ends the reading of the answer */
  readonly signal: AbortSignal;
  /** the sender wants to hear of the bytes that have left, which only XMLHttpRequest tells */
  readonly wantsProgress: boolean;
  /** of a development build */
  readonly journey?: Journey | undefined;
  /** set by the interceptor below: what answers the request in place of HttpClient's backend */
  answer?: (request: HttpRequest<unknown>) => Observable<HttpEvent<unknown>>;
}
export const CARRIED = new HttpContextToken<Carried | undefined>(() => undefined);

/**
 * Lets results stream through HttpClient, whose own backends hand a binary body out only when it is complete: sealed requests are
 * answered by `fetch` in place of the backend, and their bodies given out as they arrive. All other interceptors see them, wherever
 * this one stands: those of `withInterceptors([...])` and the classes of `withInterceptorsFromDi()`. A `timeout` that they set on a request
 * counts until its answer begins. Not needed with `withFetch()`.
 * Uploads above 64 KiB go on to HttpClient's backend, and their results come when they are complete; where that backend is `fetch` (the
 * default of Angular 22), which tells nothing of a body on its way, they go by XMLHttpRequest.
 *
 * @example
 * import { provideHttpClient, withInterceptors } from '@angular/common/http';
 * provideHttpClient(withInterceptors([sealwireStreams]));
 */
export const sealwireStreams: HttpInterceptorFn = (request, next) => {
  const carried = request.context.get(CARRIED);
  if (carried && !carried.wantsProgress) {
    const zone = inject(NgZone);
    carried.answer = (last) => fetched(last, carried.signal, zone);
  } else if (carried && inject(HttpBackend) instanceof FetchBackend && globalThis.XMLHttpRequest !== undefined) {
    const backend = inject(HttpXhrBackend);
    // not its own method, which may be that of the backend of another injector, and ask for the answer again
    carried.answer = (last) => HttpXhrBackend.prototype.handle.call(backend, last);
  }
  return next(request);
};

/** @param signal also ends the reading of the answer */
function fetched(request: HttpRequest<unknown>, signal: AbortSignal, zone: NgZone): Observable<HttpEvent<unknown>> {
  return new Observable((observer) => {
    let isAnswered = false;
    const stop = new AbortController();
    const abort = (): void => stop.abort(signal.reason);
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
    const timer = zone.runOutsideAngular(() => timeLimit(request, stop));
    // the application is stable while a stream is open; HttpClient itself says that a request is under way
    zone
      .runOutsideAngular(() => fetch(request.urlWithParams, initOf(request, stop.signal)))
      .then(
        (response) => {
          const { status, statusText, body } = response;
          if (observer.closed) return void body?.cancel().catch(() => {});
          isAnswered = true;
          clearTimeout(timer);
          const headers = headersOf(response.headers);
          // a browser hides everything of a redirect that is not followed
          const seen = {
            status: response.type === 'opaqueredirect' ? 302 : status,
            statusText,
            headers,
            url: request.urlWithParams,
          };
          const reader = body?.getReader() ?? null;
          if (response.ok) {
            observer.next(new HttpResponse({ ...seen, body: reader }));
            observer.complete();
          } else observer.error(new HttpErrorResponse({ ...seen, error: reader }));
        },
        (error: unknown) => observer.error(new HttpErrorResponse({ status: 0, error, url: request.urlWithParams })),
      );
    return () => {
      clearTimeout(timer);
      // an interceptor that gave the request up, by a time limit of its own for example, waits for no answer
      if (isAnswered) return;
      signal.removeEventListener('abort', abort);
      stop.abort();
    };
  });
}

/** HttpClient's own limit, of the time until the answer begins: a stream may go on for hours. */
function timeLimit(
  { timeout }: HttpRequest<unknown>,
  stop: AbortController,
): ReturnType<typeof setTimeout> | undefined {
  if (!timeout) return undefined;
  return setTimeout(() => stop.abort(new DOMException('signal timed out', 'TimeoutError')), timeout);
}

function initOf(request: HttpRequest<unknown>, signal: AbortSignal): RequestInit {
  const { method, headers, withCredentials, credentials } = request;
  const { keepalive, cache, mode, priority, referrer, referrerPolicy, integrity } = request;
  const init = bare<RequestInit>({
    method,
    headers: headers.keys().map((name): [string, string] => [name, headers.getAll(name)?.join(', ') ?? '']),
    body: request.serializeBody() as BodyInit | null,
    signal,
    redirect: 'manual',
  });
  const chosen = {
    credentials: withCredentials ? ('include' as const) : credentials,
    keepalive,
    cache,
    mode,
    priority,
    referrer,
    referrerPolicy,
    integrity,
  };
  for (const [name, value] of Object.entries(chosen)) if (value) Object.assign(init, { [name]: value });
  return init;
}

function headersOf(headers: Headers): HttpHeaders {
  let all = new HttpHeaders();
  headers.forEach((value, name) => {
    all = all.set(name, value);
  });
  return all;
}
