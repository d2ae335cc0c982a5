import {
  FetchBackend,
  HttpBackend,
  HttpContextToken,
  HttpErrorResponse,
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
}
export const CARRIED = new HttpContextToken<Carried | undefined>(() => undefined);

/**
 * Lets results stream through HttpClient. Must be the last of `withInterceptors([...])`: HttpClient's own backends hand a
 * binary body out only when it is complete, so this answers sealed requests by `fetch`, after all other interceptors have seen
 * them, and gives their bodies out as they arrive. Not needed with `withFetch()`. Uploads above 64 KiB go on to HttpClient's backend, and
 * their results come when they are complete; where that backend is `fetch` (the default of Angular 22), which tells nothing of a body on
 * its way, they go by XMLHttpRequest.
 *
 * @example
 * import { provideHttpClient, withInterceptors } from '@angular/common/http';
 * provideHttpClient(withInterceptors([sealwireStreams]));
 */
export const sealwireStreams: HttpInterceptorFn = (request, next) => {
  const carried = request.context.get(CARRIED);
  if (!carried) return next(request);
  if (carried.wantsProgress) {
    if (!(inject(HttpBackend) instanceof FetchBackend) || globalThis.XMLHttpRequest === undefined) return next(request);
    const events = inject(HttpXhrBackend).handle(request);
    return carried.journey?.pass(request, events) ?? events;
  }
  carried.journey?.left(request.body);
  const zone = inject(NgZone);
  return new Observable((observer) => {
    // the application is stable while a stream is open; HttpClient itself says that a request is under way
    zone
      .runOutsideAngular(() => fetch(request.urlWithParams, initOf(request, carried.signal)))
      .then(
        (response) => {
          const { status, statusText, body } = response;
          const headers = headersOf(response.headers);
          // a browser hides everything of a redirect that is not followed
          const seen = {
            status: response.type === 'opaqueredirect' ? 302 : status,
            statusText,
            headers,
            url: request.url,
          };
          const reader = body?.getReader() ?? null;
          carried.journey?.came(reader);
          if (response.ok) {
            observer.next(new HttpResponse({ ...seen, body: reader }));
            observer.complete();
          } else observer.error(new HttpErrorResponse({ ...seen, error: reader }));
        },
        (error: unknown) => observer.error(new HttpErrorResponse({ status: 0, error, url: request.url })),
      );
  });
};

function initOf(request: HttpRequest<unknown>, signal: AbortSignal): RequestInit {
  const { method, headers, withCredentials, credentials, keepalive, cache, mode, priority } = request;
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
