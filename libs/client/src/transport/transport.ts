import { CONTENT_TYPE, OUTER_STATUS, type OuterCode, SealwireError } from '@sealwire/core';
import type { Settings } from '../options.js';

export interface TransportRequest {
  readonly url: string;
  readonly body: Uint8Array;
  readonly contentType: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}

export interface TransportResponse {
  readonly status: number;
  readonly contentType: string;
  readonly body: Uint8Array;
  /** seconds */
  readonly retryAfter?: number;
}

/** How bodies travel. One POST each; whoever implements it sees ciphertext only. */
export interface Transport {
  send(request: TransportRequest): Promise<TransportResponse>;
}

export interface FetchTransportOptions {
  /** bytes; a longer response is cut off and counts as none (default 64 MiB) */
  readonly maxResponse?: number;
  readonly fetch?: typeof fetch;
}

export function fetchTransport(options: FetchTransportOptions = {}): Transport {
  const maximum = options.maxResponse ?? 64 * 1024 * 1024;
  return {
    async send({ url, body, contentType, headers, signal }) {
      const send = options.fetch ?? fetch;
      const response = await send(url, {
        method: 'POST',
        // a copy would be made anyway; the cast only says that no SharedArrayBuffer is behind it
        body: body as Uint8Array<ArrayBuffer>,
        headers: { ...headers, 'content-type': contentType },
        signal,
        redirect: 'error',
      });
      const retryAfter = Number(response.headers.get('retry-after') ?? Number.NaN);
      return {
        status: response.status,
        contentType: response.headers.get('content-type') ?? '',
        body: await readLimited(response, maximum),
        ...(Number.isFinite(retryAfter) ? { retryAfter } : {}),
      };
    },
  };
}

/** Content-Length is only a first guess: a proxy may have compressed the body. */
async function readLimited(response: Response, maximum: number): Promise<Uint8Array> {
  const tooLarge = () => new SealwireError('too_large', `The response is longer than ${maximum} bytes.`);
  const reader = response.body?.getReader();
  if (!reader) return new Uint8Array(0);
  const parts: Uint8Array[] = [];
  let length = Number(response.headers.get('content-length')) > maximum ? Number.POSITIVE_INFINITY : 0;
  while (length <= maximum) {
    const { done, value } = await reader.read();
    if (done) return join(parts, length);
    parts.push(value);
    length += value.length;
  }
  await reader.cancel();
  throw tooLarge();
}

function join(parts: readonly Uint8Array[], length: number): Uint8Array {
  const [only] = parts;
  if (only && parts.length === 1) return only;
  const out = new Uint8Array(length);
  let offset = 0;
  for (const part of parts) {
    out.set(part, offset);
    offset += part.length;
  }
  return out;
}

/** A frame that may open, or else a hint: unsealed answers prove nothing, whatever they say. */
export type Answer =
  | { readonly frame: Uint8Array }
  | {
      readonly frame?: undefined;
      readonly code: OuterCode | undefined;
      readonly wait: number;
      readonly error: unknown;
    };

/** Sends a frame. Never rejects: whatever is no frame is a hint with the error that it amounts to. */
export async function post(settings: Settings, body: Uint8Array, signal: AbortSignal): Promise<Answer> {
  try {
    const { url, transport } = settings;
    const response = await transport.send({
      url,
      body,
      contentType: CONTENT_TYPE,
      headers: settings.headers(),
      signal,
    });
    if (response.status === 200 && hasType(response, CONTENT_TYPE)) return { frame: response.body };
    const code = outerCode(response);
    const error = new SealwireError(
      code ?? 'bad_frame',
      `The server answered HTTP ${response.status}${code ? ` ${code}` : ''}.`,
    );
    return { code, wait: (response.retryAfter ?? 0) * 1000, error };
  } catch (error) {
    return { code: undefined, wait: 0, error };
  }
}

export function hasType(response: TransportResponse, type: string): boolean {
  return response.contentType.split(';')[0]?.trim().toLowerCase() === type;
}

/** The code of an unsealed refusal (RFC 9457), where it is one of ours with its own status. */
export function outerCode(response: TransportResponse): OuterCode | undefined {
  // a body of a proxy may be large and of any kind
  if (response.body.length > 4096 || !hasType(response, 'application/problem+json')) return undefined;
  try {
    const { code } = JSON.parse(new TextDecoder().decode(response.body));
    return Object.hasOwn(OUTER_STATUS, code) && OUTER_STATUS[code as OuterCode] === response.status ? code : undefined;
  } catch {
    return undefined;
  }
}
