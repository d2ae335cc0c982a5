import type { BodyReader, TransportResponse } from '@sealwire/client';

const HEADER = 36;
const NOTHING = new Uint8Array(0);

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
  let all: Uint8Array = NOTHING;
  for (;;) {
    const { value } = await body.read();
    if (!value) return all;
    const more = new Uint8Array(all.length + value.length);
    more.set(all);
    more.set(value, all.length);
    all = more;
    if (all.length <= maximum) continue;
    await body.cancel();
    return all;
  }
}

/** A body as it arrives from the network. */
export function readerOf(bytes: Uint8Array): BodyReader {
  let value: Uint8Array | undefined = bytes;
  return {
    async read() {
      const next = value;
      value = undefined;
      return next && next.length > 0 ? { done: false, value: next } : { done: true };
    },
    async cancel() {},
  };
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
