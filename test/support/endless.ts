/** A server, or a proxy before it, whose answers never end. */
import type { OutgoingHttpHeaders, RequestListener } from 'node:http';
import { PassThrough, pipeline, Readable } from 'node:stream';
import { createGzip } from 'node:zlib';
import { CONTENT_TYPE, FRAME_TYPE } from '@sealwire/core';

export interface Endless {
  readonly answer: RequestListener;
  /** answers that go on */
  readonly open: number;
  /** bytes of the longest one so far, before they were compressed */
  readonly longest: number;
}

/** @param headers with `content-encoding: gzip` the answers are compressed */
export function endless(headers: OutgoingHttpHeaders = {}): Endless {
  const seen = { open: 0, longest: 0 };
  async function* parts() {
    const part = new Uint8Array(1024 * 1024);
    let bytes = 0;
    // what reads a frame would take other bytes for a page of a proxy
    yield Uint8Array.of(FRAME_TYPE.startAnswer, 1);
    for (;;) {
      yield part;
      bytes += part.length;
      seen.longest = Math.max(seen.longest, bytes);
    }
  }
  const cors = { 'access-control-allow-origin': '*', 'access-control-allow-headers': '*' };
  return {
    get open() {
      return seen.open;
    },
    get longest() {
      return seen.longest;
    },
    answer(request, response) {
      request.resume();
      if (request.method === 'OPTIONS') return void response.writeHead(204, cors).end();
      seen.open++;
      response.writeHead(200, { ...cors, 'content-type': CONTENT_TYPE, ...headers });
      const coding = 'content-encoding' in headers ? createGzip({ level: 1 }) : new PassThrough();
      pipeline(Readable.from(parts()), coding, response, () => {
        seen.open--;
      });
    },
  };
}
