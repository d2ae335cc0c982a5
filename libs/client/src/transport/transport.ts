import { CONTENT_TYPE, FRAME_TYPE, isLive, LIMITS, SealwireError, thrownText } from '@sealwire/core/calls';
import type { Settings } from '../options.js';
import { type BodyReader, ENDED, LiveBody } from './body.js';
import { brokenOff, explained, type Hint, hintOf, lost } from './hint.js';
import { absolute, checkUrl } from './network.js';
import type { StreamBody } from './stream-body.js';
import { checkOptions, FETCH, type FetchTransportOptions } from './transport-options.js';

/** One body to be posted. */
export interface TransportRequest {
  readonly url: string;
  /**
   * Bytes for what is complete. A call with streams among its arguments is made while it leaves on Node, and a Blob in browsers,
   * which send no request streams over HTTP/1.1.
   */
  readonly body: Uint8Array | Blob | StreamBody;
  readonly contentType: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
  /**
   * Tells the bytes of the body that have left so far. A transport that cannot see them never calls it.
   */
  readonly onUpload?: (bytes: number) => void;
}

/** The answer to one body, whatever its status. */
export interface TransportResponse {
  readonly status: number;
  readonly contentType: string;
  /**
   * The whole body, or what reads it as it arrives (`response.body.getReader()`). A reader that was cancelled closes the
   * connection.
   */
  readonly body: Uint8Array | BodyReader;
  /** seconds */
  readonly retryAfter?: number;
  /** target of a redirect; none is ever followed */
  readonly location?: string;
  /** all that the runtime shows, for tools that display them; nothing of the protocol depends on them */
  readonly headers?: Iterable<readonly [name: string, value: string]>;
}

/** An answer whose body has been read. */
export interface CompleteResponse extends TransportResponse {
  readonly body: Uint8Array;
}

/** How bodies travel. One POST each; whoever implements it sees ciphertext only. */
export interface Transport {
  /**
   * A rejection means that no answer came. By the code of a SealwireError it may say more: `unreachable`, no byte of the
   * body left; `bad_configuration`, nor ever will; `too_large`, the answer is longer than this side takes.
   */
  send(request: TransportRequest): Promise<TransportResponse>;
  /** bytes of an answer, or of one value inside a live one, that are taken at most (default 64 MiB) */
  readonly maxResponse?: number;
  /** Whether it takes a {@link StreamBody} as the body of a request. Otherwise streams come as a Blob (default false). */
  readonly requestStreams?: boolean;
  /** Whether it calls `onUpload` while a body leaves. Otherwise bytes count as sent when they are sealed (default false). */
  readonly uploadProgress?: boolean;
  /**
   * Called once, by `createRemote`. Without it `url` must be one that `fetch` takes here.
   *
   * @throws SealwireError `bad_configuration` for a URL that it can never reach
   */
  check?(url: string): void;
}

/** Browsers send no request streams, but for one over HTTP/2; one of them sends another body without an error. */
const IS_NODE = (globalThis as { process?: { versions?: { node?: string } } }).process?.versions?.node !== undefined;

/** Bytes of bodies that a browser keeps alive after the page together, less what headers may take. */
const KEPT_ALIVE = 60_000;
let keptAlive = 0;

/** Chromium copies other bodies on the main thread: 8 MB block it for 250 ms. */
const BLOB_FROM = 256 * 1024;

export function asBody(body: TransportRequest['body']): Uint8Array | Blob | ReadableStream<Uint8Array> {
  if (!(body instanceof Uint8Array)) return body instanceof Blob ? body : body.stream();
  return !IS_NODE && body.length > BLOB_FROM ? new Blob([body as Uint8Array<ArrayBuffer>]) : body;
}

/**
 * One `fetch` for each frame. Redirects are not followed, no content encoding is asked for, and of an answer that is no
 * frame 4 KiB are read.
 *
 * @throws SealwireError `bad_configuration` for an option that does not exist, or a value that it does not take
 * @example
 * createRemote({
 *   url: 'https://api.example.com/remote/payments',
 *   serverKey: 'swp1...',
 *   transport: fetchTransport({ credentials: 'include', maxResponse: 1024 * 1024 }),
 * });
 */
export function fetchTransport(given: FetchTransportOptions = {}): Transport {
  const options = checkOptions('fetchTransport', given, FETCH);
  const { keepalive = false, maxResponse = MAX_RESPONSE, fetch: send, ...fixed } = options;
  return {
    check: checkUrl,
    maxResponse,
    requestStreams: IS_NODE,
    async send({ url, body, contentType, headers, signal }) {
      const target = url.startsWith('http') ? url : absolute(url);
      const posted = asBody(body);
      // fetch asks for every option that there is, on Object.prototype too
      const init: RequestInit & { duplex?: 'half' } = Object.assign(Object.create(null), {
        ...fixed,
        method: 'POST',
        // a copy would be made anyway; the cast only says that no SharedArrayBuffer is behind it
        body: posted as Uint8Array<ArrayBuffer>,
        headers: checked({ ...headers, 'content-type': contentType, 'accept-encoding': 'identity' }),
        signal,
        redirect: 'manual',
      });
      if (posted instanceof ReadableStream) init.duplex = 'half';
      const size = body instanceof Uint8Array ? body.length : body instanceof Blob ? body.size : KEPT_ALIVE;
      const kept = keepalive && keptAlive + size <= KEPT_ALIVE ? size : 0;
      if (kept > 0) init.keepalive = true;
      keptAlive += kept;
      const response = await (send ?? fetch)(target, init)
        .catch((error: unknown) => {
          throw explained(error, target, signal);
        })
        .finally(() => {
          keptAlive -= kept;
        });
      return {
        // a browser hides everything else of a redirect
        status: response.type === 'opaqueredirect' ? 302 : response.status,
        contentType: response.headers.get('content-type') ?? '',
        headers: response.headers,
        body: response.body
          ? await readBody(response.body.getReader(), maxResponse, contentType === CONTENT_TYPE).catch(
              (error: unknown) => {
                throw brokenOff(error, target, signal);
              },
            )
          : NOTHING,
        ...directions(response.headers.get('retry-after'), response.headers.get('location')),
      };
    },
  };
}

/** @throws SealwireError `bad_configuration` for a name or value that no header may have: fetch says it in words of its own */
export function checked(headers: Record<string, string>): Record<string, string> {
  try {
    new Headers(headers);
    return headers;
  } catch (error) {
    throw badHeaders(error);
  }
}

/** @param cause says in the words of whoever sends requests which name or value no header may have */
export function badHeaders(cause: unknown): SealwireError {
  return new SealwireError('bad_configuration', `headers: ${(cause as Error).message}`, { cause });
}

/** What an answer that is busy or a redirect says in its headers. */
export function directions(
  retryAfterHeader: string | null | undefined,
  location: string | null | undefined,
): Pick<TransportResponse, 'retryAfter' | 'location'> {
  const retryAfter = Number(retryAfterHeader ?? Number.NaN);
  return {
    ...(Number.isFinite(retryAfter) ? { retryAfter } : {}),
    ...(location == null ? {} : { location }),
  };
}

/**
 * Reads a body to its end, but for a live result, of which it reads the beginning. Counted in bytes after any decoding, for
 * Content-Length says nothing of what a proxy compressed.
 */
export async function readBody(reader: BodyReader, maximum: number, sealed: boolean): Promise<Uint8Array | LiveBody> {
  let body = NOTHING;
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done || !value) break;
    body = append(body, length, value as Uint8Array<ArrayBuffer>);
    length += value.length;
    const whole = !sealed || isFrame(body);
    if (whole && sealed && length > 2 && isLive(body)) return new LiveBody(body.subarray(0, length), reader);
    if (length <= (whole ? maximum : LIMITS.nonFrame)) continue;
    // nobody waits for the other side to learn of it
    reader.cancel().catch(() => {});
    if (!whole) return body.slice(0, LIMITS.nonFrame);
    throw new SealwireError('too_large', `The answer is longer than the ${maximum} bytes of maxResponse.`);
  }
  return body.subarray(0, length);
}

/** One buffer that doubles: a body may come in very many very small parts. */
function append(body: Uint8Array<ArrayBuffer>, length: number, part: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  if (length === 0) return part;
  const end = length + part.length;
  const out = end <= body.length ? body : new Uint8Array(Math.max(end, 2 * body.length));
  if (out !== body) out.set(body.subarray(0, length));
  out.set(part, length);
  return out;
}

/** The option `headers` failed: nothing left, and a second try would only ask it again. */
export class HeadersError extends SealwireError {
  constructor(cause: unknown) {
    super('bad_configuration', `headers() failed: ${thrownText(cause)}`, { cause });
  }
}

/** @throws HeadersError */
export function headersOf({ headers }: Settings): Readonly<Record<string, string>> {
  try {
    const made = typeof headers === 'function' ? headers() : headers;
    // the names of a `Headers`, a Map or a promise are not its properties: none would go along
    if (!made || Symbol.iterator in made || 'then' in made)
      throw new TypeError('it must return an object of names and texts');
    return made;
  } catch (error) {
    throw new HeadersError(error);
  }
}

const VERSION = 1;
const MAX_RESPONSE = 64 * 1024 * 1024;
const NOTHING = new Uint8Array(0);

/** Sends a frame and gives back the frame that answers it, the beginning of a live one, or a hint. Never rejects. */
export async function post(
  settings: Settings,
  body: TransportRequest['body'],
  signal: AbortSignal,
  onUpload?: (bytes: number) => void,
): Promise<Uint8Array | LiveBody | Hint> {
  try {
    const { url, transport } = settings;
    const request = {
      url,
      body,
      contentType: CONTENT_TYPE,
      headers: headersOf(settings),
      signal,
    };
    const response = await transport.send(onUpload ? { ...request, onUpload } : request);
    const { body: got } = response;
    const answer =
      got instanceof Uint8Array || got instanceof LiveBody ? got : await readBody(got, maxResponse(transport), true);
    if (answer instanceof LiveBody) return answer;
    if (isFrame(answer)) return isLive(answer) ? new LiveBody(answer, ENDED) : answer;
    return hintOf({ ...response, body: answer }, url);
  } catch (error) {
    return lost(error);
  }
}

/** The body of an answer that is no frame. */
export async function wholeBody({ body }: TransportResponse, transport: Transport): Promise<Uint8Array> {
  const read = body instanceof Uint8Array ? body : await readBody(body, maxResponse(transport), false);
  if (read instanceof Uint8Array) return read;
  throw new SealwireError('bad_frame');
}

/** Bytes that one answer, or one value of a live answer, may have. */
export function maxResponse(transport: Transport): number {
  return transport.maxResponse ?? MAX_RESPONSE;
}

/** Whether a body is one that a server seals. Neither status nor content type count: gateways rewrite them. */
function isFrame(body: Uint8Array): boolean {
  const type = body[0];
  if (body[1] !== VERSION) return false;
  return type === FRAME_TYPE.result || type === FRAME_TYPE.startAnswer || type === FRAME_TYPE.finishAnswer;
}
