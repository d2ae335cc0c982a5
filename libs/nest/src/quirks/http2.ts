import type { IncomingMessage, ServerResponse } from 'node:http';
import { constants, type ServerHttp2Stream } from 'node:http2';

/**
 * The stream behind a request or a response of HTTP/2; undefined over HTTP/1. Node's compatibility API has neither `destroyed` nor
 * `closed`, its request closes behind its response only, and its socket is gone with the stream.
 */
export function streamOf(node: IncomingMessage | ServerResponse): ServerHttp2Stream | undefined {
  return (node as { readonly stream?: ServerHttp2Stream }).stream;
}

/** Whether nobody is at the other end any more. */
export function isGone(node: IncomingMessage | ServerResponse): boolean {
  return node.destroyed || streamOf(node)?.destroyed === true;
}

/**
 * Closes the stream of a response that is sent before its request has ended. Node does so by itself only if nothing of the request was
 * read, and else waits for the rest for ever.
 */
export function closeBehind(response: ServerResponse): void {
  const stream = streamOf(response);
  // the response itself finishes when its stream closes
  stream?.once('finish', () => {
    stream.close(constants.NGHTTP2_NO_ERROR);
    // a stream whose bytes nobody takes is never over
    stream.resume();
  });
}

/**
 * What keeps the connection of a response from being used again, once that is sent. Over HTTP/2 the connection's other streams come to
 * their end.
 *
 * @returns a function, since a response that is sent has lost its connection
 */
export function closerOf(response: ServerResponse): () => void {
  const { socket } = response;
  const session = streamOf(response)?.session;
  return () => (session ? session.close() : socket?.destroySoon());
}
