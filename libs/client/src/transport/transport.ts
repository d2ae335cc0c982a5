import { CONTENT_TYPE, FRAME_TYPE, LIMITS, SealwireError, unknownOption } from '@sealwire/core';
import type { Settings } from '../options.js';
import { checkUrl, explained, type Hint, hintOf } from './hint.js';

/** One body to be posted. */
export interface TransportRequest {
  readonly url: string;
  readonly body: Uint8Array;
  readonly contentType: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}

/** The answer to one body, whatever its status. */
export interface TransportResponse {
  readonly status: number;
  readonly contentType: string;
  readonly body: Uint8Array;
  /** seconds */
  readonly retryAfter?: number;
  /** where a redirect leads; none is ever followed */
  readonly location?: string;
}

/** How bodies travel. One POST each; whoever implements it sees ciphertext only. */
export interface Transport {
  /**
   * A rejection means that no answer came. By the code of a SealwireError it may say more: `unreachable`, no byte of the
   * body left; `bad_configuration`, nor ever will; `too_large`, the answer is longer than this side takes.
   */
  send(request: TransportRequest): Promise<TransportResponse>;
  /** Called once, by `createRemote`. @throws SealwireError `bad_configuration` for a URL that it can never reach */
  check?(url: string): void;
}

/** Options of {@link fetchTransport}. */
export interface FetchTransportOptions {
  /** bytes of an answer that are read at most; a longer result ends its call with `too_large` (default 64 MiB) */
  readonly maxResponse?: number;
  readonly fetch?: typeof fetch;
}

/**
 * One `fetch` for each frame. Redirects are not followed, no content encoding is asked for, and of an answer that is no
 * frame 4 KiB are read.
 *
 * @throws SealwireError `bad_configuration` for an option that does not exist
 * @example
 * createRemote({
 *   url: 'https://api.example.com/remote/payments',
 *   serverKey: 'swp1...',
 *   transport: fetchTransport({ maxResponse: 1024 * 1024 }),
 * });
 */
export function fetchTransport(options: FetchTransportOptions = {}): Transport {
  unknownOption(options, ['maxResponse', 'fetch'], 'fetchTransport');
  const maximum = options.maxResponse ?? 64 * 1024 * 1024;
  return {
    check: checkUrl,
    async send({ url, body, contentType, headers, signal }) {
      const response = await (options.fetch ?? fetch)(url, {
        method: 'POST',
        // a copy would be made anyway; the cast only says that no SharedArrayBuffer is behind it
        body: body as Uint8Array<ArrayBuffer>,
        headers: checked({ ...headers, 'content-type': contentType, 'accept-encoding': 'identity' }),
        signal,
        redirect: 'manual',
      }).catch((error: unknown) => {
        throw explained(error);
      });
      const retryAfter = Number(response.headers.get('retry-after') ?? Number.NaN);
      const location = response.headers.get('location');
      return {
        // a browser hides everything else of a redirect
        status: response.type === 'opaqueredirect' ? 302 : response.status,
        contentType: response.headers.get('content-type') ?? '',
        body: await readLimited(response, maximum, contentType === CONTENT_TYPE),
        ...(Number.isFinite(retryAfter) ? { retryAfter } : {}),
        ...(location === null ? {} : { location }),
      };
    },
  };
}

/** @throws SealwireError `bad_configuration` for a name or value that no header may have: fetch says it in words of its own */
function checked(headers: Record<string, string>): Record<string, string> {
  try {
    new Headers(headers);
    return headers;
  } catch (error) {
    throw new SealwireError('bad_configuration', `headers: ${(error as Error).message}`, { cause: error });
  }
}

/** Counted in bytes after any decoding, for Content-Length says nothing of what a proxy compressed. */
async function readLimited(response: Response, maximum: number, sealed: boolean): Promise<Uint8Array> {
  const reader = response.body?.getReader();
  let body = new Uint8Array(0);
  let length = 0;
  while (reader) {
    const { done, value } = await reader.read();
    if (done) break;
    body = append(body, length, value);
    length += value.length;
    const whole = !sealed || isFrame(body);
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

/** @throws SealwireError `bad_configuration`, which says that nothing left */
function made(headers: () => Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  try {
    return headers();
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    throw new SealwireError('bad_configuration', `headers() threw "${text}".`, { cause: error });
  }
}

const VERSION = 1;

/** Sends a frame and gives back the frame that answers it, or a hint. Never rejects. */
export async function post(settings: Settings, body: Uint8Array, signal: AbortSignal): Promise<Uint8Array | Hint> {
  try {
    const { url, transport, headers } = settings;
    const response = await transport.send({
      url,
      body,
      contentType: CONTENT_TYPE,
      headers: typeof headers === 'function' ? made(headers) : headers,
      signal,
    });
    return isFrame(response.body) ? response.body : hintOf(response, url);
  } catch (error) {
    return { status: undefined, code: undefined, wait: 0, error };
  }
}

/** Whether a body is one that a server seals. Neither status nor content type count: gateways rewrite them. */
export function isFrame(body: Uint8Array): boolean {
  const type = body[0];
  if (body[1] !== VERSION) return false;
  return type === FRAME_TYPE.result || type === FRAME_TYPE.startAnswer || type === FRAME_TYPE.finishAnswer;
}
