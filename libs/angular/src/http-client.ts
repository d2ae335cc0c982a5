import {
  HttpClient,
  HttpContext,
  HttpContextToken,
  HttpErrorResponse,
  HttpEventType,
  type HttpHeaders,
  type HttpResponse,
} from '@angular/common/http';
import { type Injector, isDevMode, NgZone } from '@angular/core';
import {
  type BodyReader,
  fetchTransport,
  frameType,
  SealwireError,
  type Transport,
  type TransportRequest,
  type TransportResponse,
} from '@sealwire/client';

import { CARRIED } from './live-requests.js';

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

/** Bytes of an answer that are taken at most, as by `fetchTransport`. */
const MAX_RESPONSE = 64 * 1024 * 1024;
/** Above it a Blob: Chromium copies other bodies on the main thread. */
const BLOB_FROM = 256 * 1024;

const { check } = fetchTransport();

/** Frames travel through HttpClient: the application's interceptors, XSRF protection and backend apply. */
export function httpClientTransport(injector: Injector, module: string): Transport {
  const http = injector.get(HttpClient);
  const zone = injector.get(NgZone);
  const attempts = new WeakMap<object, number>();
  const answers = new Answers(module);
  return {
    ...(check ? { check } : {}),
    send(request) {
      const { url, body, contentType, headers, signal } = request;
      const attempt = attempts.get(body) ?? 0;
      attempts.set(body, attempt + 1);
      const { onUpload } = request;
      const context = new HttpContext()
        .set(SEALED_REQUEST, { module, frame: kindOf(request), attempt })
        .set(CARRIED, { signal, wantsProgress: onUpload !== undefined });
      const options = {
        headers: checked({ ...headers, 'content-type': contentType }),
        observe: 'events',
        reportProgress: onUpload !== undefined,
        responseType: 'arraybuffer',
        context,
        transferCache: false,
      } as const;
      return new Promise<TransportResponse>((resolve, reject) => {
        signal.throwIfAborted();
        // interceptors run in Angular's zone, as they are used to
        const subscription = zone.run(() =>
          http.post(url, bodyOf(body), options).subscribe({
            next: (event) => {
              if (event.type === HttpEventType.UploadProgress) onUpload?.(event.loaded);
              else if (event.type === HttpEventType.Response)
                answers.settle(request, event, event.body, resolve, reject);
            },
            error: (error: unknown) => {
              if (error instanceof HttpErrorResponse && error.status > 0)
                answers.settle(request, error, error.error, resolve, reject);
              else reject(unanswered(error, url));
            },
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

/** Responses, whatever interceptors made of them. */
class Answers {
  readonly #seen = new WeakSet<object>();
  #hasWarned = false;

  constructor(private readonly module: string) {}

  settle(
    request: TransportRequest,
    response: HttpResponse<unknown> | HttpErrorResponse,
    body: unknown,
    resolve: (response: TransportResponse) => void,
    reject: (reason: unknown) => void,
  ): void {
    const bytes = isBuffer(body) ? new Uint8Array(body) : new Uint8Array(0);
    if (bytes.length > MAX_RESPONSE) {
      reject(new SealwireError('too_large', `The answer is longer than ${MAX_RESPONSE} bytes.`));
      return;
    }
    if (isDevMode()) this.#look(body);
    resolve(responseOf(request, response, isReader(body) ? body : readerOf(bytes)));
  }

  #look(body: unknown): void {
    const isObject = typeof body === 'object' && body !== null;
    const isSame = isObject && this.#seen.has(body);
    if (isObject) this.#seen.add(body);
    if (!isSame && (body === null || body === undefined || isBuffer(body) || isReader(body))) return;
    if (this.#hasWarned) return;
    this.#hasWarned = true;
    console.warn(
      `Sealwire: an interceptor ${isSame ? 'answered from a cache' : 'altered the body of an answer'} of module ` +
        `"${this.module}". Sealed requests must pass as they are: leave out those that have SEALED_REQUEST in their context.`,
    );
  }
}

function responseOf(
  request: TransportRequest,
  { status, headers, url }: { readonly status: number; readonly headers: HttpHeaders; readonly url: string | null },
  body: BodyReader,
): TransportResponse {
  const retryAfter = Number(headers.get('retry-after') ?? Number.NaN);
  const contentType = headers.get('content-type') ?? '';
  // a browser follows redirects before anybody is asked, and what answers at their end is no Sealwire server
  const left = url !== null && !contentType.startsWith(request.contentType) && absolute(url) !== absolute(request.url);
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
function readerOf(bytes: Uint8Array): BodyReader {
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

/** Of any realm: jsdom's requests answer with buffers of their own. */
function isBuffer(body: unknown): body is ArrayBuffer {
  return Object.prototype.toString.call(body) === '[object ArrayBuffer]';
}

function absolute(url: string): string {
  return new URL(url, globalThis.location?.href).href;
}

function kindOf({ body, contentType }: TransportRequest): SealedRequest['frame'] {
  if (contentType === 'application/cbor') return 'plain';
  const type = body instanceof Uint8Array ? frameType(body) : 'call';
  return type === 'start' || type === 'finish' ? type : 'call';
}

/** HttpClient writes a Uint8Array as JSON; an ArrayBuffer or a Blob it takes as they are. */
function bodyOf(bytes: TransportRequest['body']): ArrayBuffer | Blob {
  // streams come as a Blob, for `requestStreams` is not set
  if (!(bytes instanceof Uint8Array)) return bytes as Blob;
  if (bytes.length > BLOB_FROM) return new Blob([bytes as Uint8Array<ArrayBuffer>]);
  const whole = bytes.length === bytes.buffer.byteLength ? bytes : bytes.slice();
  return whole.buffer as ArrayBuffer;
}

/** @throws SealwireError `bad_configuration` for a name or value that no header may have */
function checked(headers: Record<string, string>): Record<string, string> {
  try {
    new Headers(headers);
    return headers;
  } catch (error) {
    throw new SealwireError('bad_configuration', `headers: ${(error as Error).message}`, { cause: error });
  }
}

/** Browsers do not say which of the three it was. */
function unanswered(error: unknown, url: string): unknown {
  if (!(error instanceof HttpErrorResponse)) return error;
  const inner = error.error instanceof Error ? ` (${error.error.message})` : '';
  return new Error(`${url} gave no answer${inner}: no network, no server, or its CORS rules refuse this page`);
}
