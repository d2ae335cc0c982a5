import type { Attempt, Soon } from '@sealwire/core';
import { CONTENT_TYPE, FRAME_TYPE, isLive, LIMITS, SealwireError, SIZE, thrownText } from '@sealwire/core/calls';
import type { Settings } from '../options.js';
import { type BodyReader, ENDED, LiveBody } from './body.js';
import { brokenOff, explained, type Hint, hintOf, lost, unopened } from './hint.js';
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

/** Where the first chunk of a result of several begins, behind its length. */
const CHUNK_AT = SIZE.resultHeader + 3;
const [LEAST_CHUNK, MOST_CHUNK] = [LIMITS.minimumChunk + SIZE.tag, LIMITS.chunk + SIZE.tag];
/** The results in step 4 are padded by an eighth at most. */
const LONGEST_STEP = LIMITS.handshakeFrame + LIMITS.finishAnswerResults * (9 / 8);

/** The first byte behind the first chunk. */
function chunkEnd(frame: Uint8Array): number {
  const [high = 0, middle = 0, low = 0] = frame.subarray(SIZE.resultHeader);
  return CHUNK_AT + ((high << 16) | (middle << 8) | low);
}

/** How much of a frame is read before something of it opened: anybody on the way can begin one without an end. */
function unopenedLimit(frame: Uint8Array): number {
  if (frame[0] !== FRAME_TYPE.result) return LONGEST_STEP;
  const end = frame[2] === CHUNKED && frame.length >= CHUNK_AT ? chunkEnd(frame) : CHUNK_AT + MOST_CHUNK;
  return Math.min(end, CHUNK_AT + MOST_CHUNK);
}

/** It is longer than a frame of its kind, or its sender proved nothing by its beginning. */
class EndlessError extends SealwireError {}

function tooLong(maximum: number): string {
  return `The answer is longer than the ${maximum} bytes of maxResponse.`;
}

/**
 * Reads a body to its end, but for a live result and one of several chunks, of which it reads the beginning unless that has
 * opened. Counted in bytes after any decoding, for Content-Length says nothing of what a proxy compressed.
 */
export async function readBody(
  reader: BodyReader,
  maximum: number,
  sealed: boolean,
  isOpened = false,
): Promise<Uint8Array | LiveBody> {
  let body = NOTHING;
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done || !value) break;
    body = append(body, length, value as Uint8Array<ArrayBuffer>);
    length += value.length;
    const whole = !sealed || isFrame(body);
    const head = body.subarray(0, length);
    const isBeginning = whole && sealed && !isOpened;
    if (isBeginning && length > 2 && isLive(head)) return new LiveBody(head, reader);
    const most = isBeginning ? unopenedLimit(head) : whole ? maximum : LIMITS.nonFrame;
    if (length <= most) continue;
    if (isBeginning && head[0] === FRAME_TYPE.result && head[2] === CHUNKED) return new LiveBody(head, reader);
    // nobody waits for the other side to learn of it
    reader.cancel().catch(() => {});
    if (!whole) return body.slice(0, LIMITS.nonFrame);
    if (!isBeginning) throw new SealwireError('too_large', tooLong(maximum));
    throw new EndlessError('too_large', `The answer is longer than the ${most} bytes of a frame of its kind.`);
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
/** flags of a result of several chunks */
const CHUNKED = 1;
const MAX_RESPONSE = 64 * 1024 * 1024;
const NOTHING = new Uint8Array(0);

/** Opens an answer, or tries to. */
export type Opens = (frame: Uint8Array) => Soon<Attempt<unknown>>;

/**
 * Whether the first chunk opens, which nobody on the way can seal. The others are not there, which is told of by `bad_frame`;
 * that of a chunk of a wrong length would be the same.
 */
async function begins(frame: Uint8Array, opens: Opens): Promise<boolean> {
  const end = chunkEnd(frame);
  if (end < CHUNK_AT + LEAST_CHUNK || end > CHUNK_AT + MOST_CHUNK) return false;
  const opened = await opens(frame.subarray(0, end + 1));
  return 'error' in opened && (opened.error as Partial<SealwireError>).code === 'bad_frame';
}

/**
 * Sends a frame and gives back the frame that answers it, the beginning of a live one, or a hint. Never rejects.
 *
 * @param opens without it an answer of several chunks is not read on
 */
export async function post(
  settings: Settings,
  body: TransportRequest['body'],
  signal: AbortSignal,
  opens?: Opens,
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
    const most = maxResponse(transport);
    let answer = got instanceof Uint8Array || got instanceof LiveBody ? got : await readBody(got, most, true);
    if (answer instanceof LiveBody && opens && !isLive(answer.head)) {
      if (!(await begins(answer.head, opens))) {
        answer.cancel().catch(() => {});
        return unopened(undefined);
      }
      answer = await readBody(answer, most, true, true).catch((error: unknown) => {
        throw brokenOff(error, absolute(url), signal);
      });
    }
    if (answer instanceof LiveBody) return answer;
    if (!isFrame(answer)) return hintOf({ ...response, body: answer }, url);
    if (isLive(answer)) return new LiveBody(answer, ENDED);
    // one of a single chunk is read whole to find out who speaks
    const isTooLong = answer.length > most && opens && 'value' in (await opens(answer));
    return isTooLong ? lost(new SealwireError('too_large', tooLong(most))) : answer;
  } catch (error) {
    // whoever is on the way can be so long: it is no reason to end a call
    return error instanceof EndlessError ? { ...lost(error), status: 200 } : lost(error);
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
