import {
  HttpClient,
  HttpContext,
  HttpContextToken,
  HttpErrorResponse,
  type HttpEvent,
  HttpEventType,
  type HttpHeaders,
  type HttpRequest,
  type HttpResponse,
} from '@angular/common/http';
import { type Injector, NgZone } from '@angular/core';
import {
  type BodyReader,
  fetchTransport,
  frameType,
  SealwireError,
  type Transport,
  type TransportRequest,
  type TransportResponse,
  ɵabsolute,
  ɵasBody,
  ɵchecked,
  ɵexplained,
} from '@sealwire/client';
import { finalize, tap } from 'rxjs';
import { BodyWatch, isBuffer } from './bodies.js';
import { departed, departs, followBackend } from './departures.js';
import { CARRIED } from './live-requests.js';
import { bare } from './options.js';

/** false in production builds, which leave out what depends on it */
declare const ngDevMode: boolean | object | undefined;

/** What interceptors can know of a sealed request. */
export interface SealedRequest {
  /** path of the module */
  readonly module: string;
  /** steps 1 and 3 of a handshake, a message of calls, or calls without encryption (`keySize: 0`) */
  readonly frame: 'start' | 'finish' | 'call' | 'plain';
  /** 0 at the first sending of these bytes */
  readonly attempt: number;
}

/**
 * Set on every request of this library, undefined on all others. Interceptors see the URL, headers and sealed bytes; they
 * must neither alter nor cache bodies.
 *
 * @example
 * import type { HttpInterceptorFn } from '@angular/common/http';
 * const tracing: HttpInterceptorFn = (request, next) => {
 *   const sealed = request.context.get(SEALED_REQUEST);
 *   return next(sealed ? request.clone({ setHeaders: { 'x-module': sealed.module } }) : request);
 * };
 */
export const SEALED_REQUEST = new HttpContextToken<SealedRequest | undefined>(() => undefined);

/** the content type of calls without encryption */
const PLAIN = 'application/cbor';

/** what is the same for each transport */
const { check, maxResponse = Number.POSITIVE_INFINITY } = fetchTransport();

/** Frames travel through HttpClient: the application's interceptors, XSRF protection and backend apply. */
export function httpClientTransport(injector: Injector, module: string): Transport {
  const http = injector.get(HttpClient);
  const zone = injector.get(NgZone);
  const attempts = new WeakMap<object, number>();
  // before the watch, which then sees what answers in place of the backend
  followBackend(injector);
  const watch = typeof ngDevMode !== 'undefined' && ngDevMode ? BodyWatch.of(injector) : undefined;
  return {
    ...(check ? { check } : {}),
    uploadProgress: true,
    send(request) {
      const { url, body, contentType, headers, signal } = request;
      const attempt = attempts.get(body) ?? 0;
      attempts.set(body, attempt + 1);
      const { onUpload } = request;
      const sent = bodyOf(body);
      departs(sent);
      const journey = watch?.begin(module, body, sent);
      const wantsProgress = onUpload !== undefined && sizeOf(sent) > AT_ONCE;
      const context = new HttpContext()
        .set(SEALED_REQUEST, { module, frame: kindOf(request), attempt })
        .set(CARRIED, { signal, wantsProgress, journey });
      const given = {
        headers: ɵchecked({ ...headers, 'content-type': contentType }),
        observe: 'events',
        // without it an endless answer would be read until the call's time is over
        reportProgress: true,
        responseType: 'arraybuffer',
        context,
        transferCache: false,
      } as const;
      const options = bare(given);
      return new Promise<TransportResponse>((resolve, reject) => {
        signal.throwIfAborted();
        const settle = (response: HttpResponse<unknown> | HttpErrorResponse, got: unknown): void => {
          const isSealed = contentType !== PLAIN && response.headers.get('content-type') === contentType;
          journey?.ends(got, isSealed, !response.ok);
          const bytes = isBuffer(got) ? new Uint8Array(got) : new Uint8Array(0);
          if (bytes.length > maxResponse) reject(tooLarge());
          else resolve(responseOf(request, departed(sent), response, isReader(got) ? got : readerOf(bytes)));
        };
        // interceptors run in Angular's zone, as they are used to
        const subscription = zone.run(() =>
          http
            .post(url, sent, options)
            // what it throws closes the connection
            .pipe(
              tap(refuseTooLarge),
              finalize(() => journey?.rests()),
            )
            .subscribe({
              next: (event) => {
                if (event.type === HttpEventType.UploadProgress) onUpload?.(event.loaded);
                else if (event.type === HttpEventType.DownloadProgress && !wantsProgress)
                  zone.runOutsideAngular(() => journey?.arrives());
                else if (event.type === HttpEventType.Response) settle(event, event.body);
              },
              error: (error: unknown) => {
                if (error instanceof HttpErrorResponse && error.status > 0) settle(error, error.error);
                else reject(unanswered(error, departed(sent)?.urlWithParams ?? url, signal));
              },
              // nobody hears of it if the answer was there
              complete: () => reject(new Error(`${url} gave no answer: an interceptor ended the request without one.`)),
            }),
        );
        signal.addEventListener(
          'abort',
          () => {
            subscription.unsubscribe();
            reject(signal.reason);
          },
          { once: true },
        );
      });
    },
  };
}

/** @throws SealwireError `too_large` of what has come so far: Content-Length may be absent or wrong, and says nothing of what was compressed */
function refuseTooLarge(event: HttpEvent<unknown>): void {
  if (event.type === HttpEventType.DownloadProgress && event.loaded > maxResponse) throw tooLarge();
}

function tooLarge(): SealwireError {
  return new SealwireError('too_large', `The answer is longer than ${maxResponse} bytes.`);
}

/** @param departed the request as it left, behind the interceptors */
function responseOf(
  request: TransportRequest,
  departed: HttpRequest<unknown> | undefined,
  { status, headers, url }: { readonly status: number; readonly headers: HttpHeaders; readonly url: string | null },
  body: BodyReader,
): TransportResponse {
  const retryAfter = Number(headers.get('retry-after') ?? Number.NaN);
  const contentType = headers.get('content-type') ?? '';
  // a browser follows redirects before anybody is asked, and what answers at their end is no Sealwire server
  const address = departed?.urlWithParams ?? request.url;
  const left = url !== null && !contentType.startsWith(request.contentType) && ɵabsolute(url) !== ɵabsolute(address);
  const location = left ? url : headers.get('location');
  return {
    status: left ? 302 : status,
    contentType,
    headers: headers.keys().map((name): [string, string] => [name, headers.getAll(name)?.join(', ') ?? '']),
    body,
    ...(Number.isFinite(retryAfter) ? { retryAfter } : {}),
    ...(location === null ? {} : { location }),
  };
}

/** What `sealwireStreams` answers with. */
function isReader(body: unknown): body is BodyReader {
  return typeof body === 'object' && body !== null && 'read' in body;
}

/** As if it were arriving: a live result is read so, although HttpClient hands it out when it is complete. */
export function readerOf(bytes: Uint8Array): BodyReader {
  let value: Uint8Array | undefined = bytes;
  return {
    async read() {
      const next = value;
      value = undefined;
      return next ? { done: false, value: next } : { done: true };
    },
    async cancel() {},
  };
}

function kindOf({ body, contentType }: TransportRequest): SealedRequest['frame'] {
  if (contentType === PLAIN) return 'plain';
  const type = body instanceof Uint8Array ? frameType(body) : 'call';
  return type === 'start' || type === 'finish' ? type : 'call';
}

/** Bytes that leave at once, so that nobody asks how far they are; what the function reports meanwhile is to be heard. */
const AT_ONCE = 65_536;

function sizeOf(body: ArrayBuffer | Blob): number {
  return 'size' in body ? body.size : body.byteLength;
}

/** HttpClient writes a Uint8Array as JSON; an ArrayBuffer or a Blob it takes as they are. */
function bodyOf(body: TransportRequest['body']): ArrayBuffer | Blob {
  const bytes = ɵasBody(body);
  // streams come as a Blob, for `requestStreams` is not set
  if (!(bytes instanceof Uint8Array)) return bytes as Blob;
  const whole = bytes.length === bytes.buffer.byteLength ? bytes : bytes.slice();
  return whole.buffer as ArrayBuffer;
}

/** What `fetch` said, or XMLHttpRequest did not say, as the client's own transports tell it. */
function unanswered(error: unknown, url: string, signal: AbortSignal): unknown {
  if (!(error instanceof HttpErrorResponse)) return error;
  const said: unknown = error.error;
  if (said instanceof Error) return ɵexplained(said, ɵabsolute(url), signal);
  if (!('location' in globalThis)) return new Error(`${url} gave no answer: no network or no server`);
  return ɵexplained(new TypeError('the browser says no reason'), ɵabsolute(url), signal);
}
