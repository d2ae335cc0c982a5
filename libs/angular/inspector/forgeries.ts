import type { BodyReader, TransportResponse } from '@sealwire/client';

const HEADER = 36;

/** One bit of the ciphertext, far behind the header. */
export function flipped(bytes: Uint8Array): { readonly bytes: Uint8Array; readonly offset: number } {
  const copy = bytes.slice();
  const offset = Math.max(0, bytes.length - 20);
  copy[offset] = (copy[offset] ?? 0) ^ 1;
  return { bytes: copy, offset };
}

/** The header of one call before the ciphertext of another. */
export function spliced(
  header: Uint8Array,
  other: Uint8Array,
): { readonly bytes: Uint8Array; readonly offset: number } {
  const bytes = new Uint8Array(other.length);
  bytes.set(other);
  bytes.set(header.subarray(0, HEADER));
  return { bytes, offset: HEADER };
}

/** A refusal that anybody can write. */
export function forged(): TransportResponse {
  const problem = {
    type: 'about:blank',
    title: 'Conflict',
    status: 409,
    code: 'session_unknown',
    detail: 'The session is not known here.',
  };
  const body = new TextEncoder().encode(JSON.stringify(problem));
  return { status: 409, contentType: 'application/problem+json', body };
}

/** The whole body, or its first bytes. */
export async function read({ body }: TransportResponse, maximum: number): Promise<Uint8Array> {
  if (body instanceof Uint8Array) return body;
  const parts: Uint8Array[] = [];
  for (let size = 0; ; ) {
    const { value } = await body.read();
    if (value) parts.push(value);
    size += value?.length ?? 0;
    if (size > maximum) await body.cancel();
    if (!value || size > maximum) return joined(parts, size);
  }
}

/** The same answer; what it was is told when all of it has passed, unless it is longer than `maximum`. */
export function kept(
  response: TransportResponse,
  maximum: number,
  tell: (answer: Uint8Array) => void,
): TransportResponse {
  const { body } = response;
  if (body instanceof Uint8Array) {
    if (body.length <= maximum) tell(body);
    return response;
  }
  let parts: Uint8Array[] | undefined = [];
  let size = 0;
  const reader: BodyReader = {
    async read() {
      const result = await body.read();
      size += result.value?.length ?? 0;
      if (size > maximum) parts = undefined;
      else if (result.value) parts?.push(result.value);
      else if (parts) tell(joined(parts, size));
      return result;
    },
    cancel: (reason) => body.cancel(reason),
  };
  return { ...response, body: reader };
}

function joined(parts: readonly Uint8Array[], size: number): Uint8Array {
  const all = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/**
 * Ends a live answer after so many bytes, as a connection that breaks; any other answer passes.
 *
 * @param begin called once the answer is known to be live. @returns whether it is cut
 */
export function cut(response: TransportResponse, after: number, begin: () => boolean): TransportResponse {
  const { body } = response;
  if (body instanceof Uint8Array) return response;
  let left = after;
  let isCut: boolean | undefined;
  const reader: BodyReader = {
    async read() {
      if (isCut && left <= 0) {
        void body.cancel(new Error('cut by the proxy')).catch(() => {});
        throw new Error('The connection was closed.');
      }
      const result = await body.read();
      if (!result.value) return result;
      if (isCut === undefined && result.value.length > 2) {
        isCut = result.value[0] === 0x12 && ((result.value[2] ?? 0) & 2) !== 0 && begin();
      }
      if (!isCut) return result;
      const value = result.value.subarray(0, left);
      left -= value.length;
      return { done: false, value };
    },
    cancel: (reason) => body.cancel(reason),
  };
  return { ...response, body: reader };
}
