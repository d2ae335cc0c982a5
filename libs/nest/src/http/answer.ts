import { type IncomingMessage, type OutgoingHttpHeaders, type ServerResponse, STATUS_CODES } from 'node:http';
import { OUTER_STATUS, type OuterCode, outerMessage, SealwireError } from '@sealwire/core';
import { closerOf, streamOf } from '../quirks/http2.js';
import type { LiveResponse } from '../streams/live-result.js';

/** Neither stored nor recoded on the way: a proxy that "improves" a sealed body breaks it. */
const CACHE_CONTROL = 'no-store, no-transform';

const ONE_PIECE = 16_384;

/** Asks the client to close the connection behind this answer. */
export const CLOSE = { Connection: 'close' };

/** For proxies of the nginx family, which would else hold back what comes. */
const UNBUFFERED = { 'X-Accel-Buffering': 'no' };

type EarlierHeaders = Readonly<Record<string, string | string[] | number>>;

interface FastifyLikeReply {
  hijack(): unknown;
  getHeaders(): EarlierHeaders;
  readonly raw: ServerResponse;
}

interface Taken {
  readonly node: ServerResponse;
  readonly earlier?: EarlierHeaders;
}

/** Writes a body with Node's own response: both platforms have one, and nothing of theirs has to run. */
export function send(
  response: unknown,
  status: number,
  contentType: string,
  body: Uint8Array | string,
  more?: object,
): void {
  end(begin(response, status, contentType, { 'Content-Length': Buffer.byteLength(body), ...more }), body);
}

/**
 * An answer before the end of its request, of which somebody reads a rest or breaks it off. Its connection takes no other request:
 * that would be lost if it is broken off. Node would close it at once, and what is still on its way would take the answer along.
 */
export function sendEarly(request: IncomingMessage, response: unknown, contentType: string, body: Uint8Array): void {
  const begun = begin(response, 200, contentType, { 'Content-Length': body.length, ...CLOSE });
  begun.write(body);
  // over HTTP/2 its connection does take others, and the request closes behind its response only
  if (streamOf(begun)) begun.end();
  else request.once('close', () => begun.end());
}

/**
 * The response to a message whose result is live. Its head leaves with the first bytes: it says how many they are if they are all.
 * @param closing gives the headers that close the connection, undefined while the server listens
 */
export function liveResponse(response: unknown, contentType: string, closing: () => object | undefined): LiveResponse {
  const taken = takeOver(response);
  const { node } = taken;
  return {
    node,
    write(parts) {
      if (!node.headersSent) writeHead(taken, 200, contentType, { ...UNBUFFERED, ...closing() });
      let more = true;
      // one chunk of HTTP for all of them
      if (parts.length > 1) node.cork();
      for (const part of parts) more = node.write(part);
      if (parts.length > 1) node.uncork();
      return more;
    },
    end(bytes) {
      if (!node.headersSent) writeHead(taken, 200, contentType, { 'Content-Length': bytes.length, ...closing() });
      else {
        // its head left before the server stopped listening
        const close = closerOf(node);
        node.once('finish', () => closing() && close());
      }
      end(node, bytes);
    },
  };
}

function begin(response: unknown, status: number, contentType: string, more: object): ServerResponse {
  return writeHead(takeOver(response), status, contentType, more);
}

/** In one go: Node sets headers that come one by one each by itself. */
function writeHead({ node, earlier }: Taken, status: number, contentType: string, more: object): ServerResponse {
  const headers: OutgoingHttpHeaders = { 'Cache-Control': CACHE_CONTROL, 'Content-Type': contentType, ...more };
  // HTTP/2 has no such header
  if ('Connection' in more && streamOf(node)) delete headers.Connection;
  return node.writeHead(status, earlier ? { ...foreign(earlier), ...headers } : headers);
}

/** Headers of this library, which stand once whatever the application set. */
const OWN: ReadonlySet<string> = new Set([
  'cache-control',
  'content-type',
  'content-length',
  'x-accel-buffering',
  'connection',
  'retry-after',
]);

function foreign(earlier: EarlierHeaders): EarlierHeaders {
  const isOwn = (name: string): boolean => OWN.has(name.toLowerCase());
  if (!Object.keys(earlier).some(isOwn)) return earlier;
  return Object.fromEntries(Object.entries(earlier).filter(([name]) => !isOwn(name)));
}

/** Node's own response, and the headers that hooks of Fastify have set before. */
function takeOver(response: unknown): Taken {
  const reply = response as FastifyLikeReply | ServerResponse;
  if (!('hijack' in reply)) return { node: reply };
  const earlier = reply.getHeaders();
  reply.hijack();
  return { node: reply.raw, earlier };
}

/**
 * Node writes head and text in one piece, but head and bytes in two; as Latin-1 the bytes of a small body are text. The end comes in
 * the next turn, when the piece is on its way: with it Node would have two pieces to gather.
 */
function end(response: ServerResponse, body: Uint8Array | string): void {
  if (typeof body === 'string' || body.length > ONE_PIECE) {
    response.end(body);
    return;
  }
  response.write(Buffer.from(body.buffer, body.byteOffset, body.length).toString('latin1'), 'latin1');
  process.nextTick(finish, response);
}

function finish(response: ServerResponse): void {
  response.end();
}

/**
 * RFC 9457. The body is constant for a code: an unsealed answer is a hint and tells nothing else.
 * @param last the connection carries no more: what is left of a body that was not read must not be taken for the next request
 */
export function sendProblem(response: unknown, code: OuterCode, last = false): void {
  const status = OUTER_STATUS[code];
  const body = { type: 'about:blank', title: STATUS_CODES[status], status, code, detail: outerMessage(code) };
  const retry = status === 503 || status === 429 ? { 'Retry-After': '1' } : {};
  send(response, status, 'application/problem+json', JSON.stringify(body), { ...retry, ...(last ? CLOSE : {}) });
}

/** The unsealed code that answers an error. What does not open looks like what is malformed. */
export function outerCode(error: unknown): OuterCode {
  if (!(error instanceof SealwireError)) return 'internal';
  if (error.code in OUTER_STATUS) return error.code as OuterCode;
  return error.code === 'open_failed' || error.code === 'bad_payload' ? 'bad_frame' : 'internal';
}
