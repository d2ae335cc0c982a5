import { Agent, type ClientRequest, createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { setImmediate as turn } from 'node:timers/promises';
import type { Upstream } from './chaos-proxy.js';

/** What becomes of a body on its way. One that throws breaks the connections of both sides. */
export type Shape = (chunks: AsyncIterable<Buffer>) => AsyncIterable<Buffer>;

export interface StreamProxyOptions {
  /** each request goes to the next one that is up */
  upstreams: readonly Upstream[];
  /** of requests */
  up?: Shape;
  /** of responses; a response that says `X-Accel-Buffering: no` is given on as it comes if `obedient` */
  down?: Shape;
  obedient?: boolean;
}

/** A proxy that gives bodies on while they arrive, in other pieces, or not to their end. */
export class StreamProxy {
  up: Shape;
  down: Shape;
  /** of how many requests the way was cut */
  broken = 0;
  private next = 0;
  private readonly agent = new Agent({ keepAlive: true });
  private readonly server = createServer((incoming, response) => {
    this.serve(incoming, response).catch(() => {
      this.broken++;
      response.destroy();
    });
  });

  private constructor(private readonly options: StreamProxyOptions) {
    this.up = options.up ?? same;
    this.down = options.down ?? same;
  }

  static async start(options: StreamProxyOptions): Promise<StreamProxy> {
    const proxy = new StreamProxy(options);
    await new Promise<void>((resolve) => proxy.server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Breaks every connection. */
  breakAll(): void {
    this.server.closeAllConnections();
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
    this.agent.destroy();
  }

  private async serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const up = this.options.upstreams.filter(({ url }) => url !== undefined);
    const upstream = up[this.next++ % up.length];
    if (!upstream) return void response.writeHead(502).end();
    const { host: _, 'content-length': __, 'transfer-encoding': ___, ...headers } = incoming.headers;
    const outgoing = request(`${upstream.url}${incoming.url}`, { method: 'POST', agent: this.agent, headers });
    response.once('close', () => outgoing.destroy());
    const sending = this.give(incoming, outgoing);
    const answered = new Promise<IncomingMessage>((resolve, reject) => {
      outgoing.once('response', resolve).once('error', reject);
    });
    await Promise.all([sending, this.answer(answered, response)]);
  }

  /** Each chunk has left before the next one is asked for: what comes before a cut arrives. */
  private async give(incoming: IncomingMessage, outgoing: ClientRequest): Promise<void> {
    outgoing.on('error', () => undefined);
    try {
      for await (const chunk of this.up(incoming)) {
        await new Promise<void>((resolve, reject) =>
          outgoing.write(chunk, (error) => (error ? reject(error) : resolve())),
        );
      }
      outgoing.end();
    } catch (error) {
      outgoing.destroy();
      throw error;
    }
  }

  private async answer(answered: Promise<IncomingMessage>, response: ServerResponse): Promise<void> {
    const answer = await answered;
    const { 'content-length': _, 'transfer-encoding': __, ...headers } = answer.headers;
    const immediate = this.options.obedient === true && headers['x-accel-buffering'] === 'no';
    response.writeHead(answer.statusCode ?? 502, headers);
    await pipeline(answer, immediate ? same : this.down, response);
  }
}

export const same: Shape = (chunks) => chunks;

/** Everything at once, when it has come. */
export const whole: Shape = async function* (chunks) {
  const parts: Buffer[] = [];
  for await (const chunk of chunks) parts.push(chunk);
  if (parts.length > 0) yield Buffer.concat(parts);
};

/** A buffer of that size, given on when it is full and at the end. */
export const buffered = (size: number): Shape =>
  async function* (chunks) {
    let held = Buffer.alloc(0);
    for await (const chunk of chunks) {
      held = Buffer.concat([held, chunk]);
      for (; held.length >= size; held = held.subarray(size)) yield held.subarray(0, size);
    }
    if (held.length > 0) yield held;
  };

/** In pieces of 1 to `most` bytes. @param random 0 to 1 */
export const recut = (most: number, random: () => number): Shape =>
  async function* (chunks) {
    for await (const chunk of chunks) {
      for (let from = 0; from < chunk.length; ) {
        const length = 1 + Math.floor(random() * most);
        yield chunk.subarray(from, from + length);
        from += length;
      }
    }
  };

/** One byte after the other, each in a turn of its own. */
export const trickle: Shape = async function* (chunks) {
  for await (const chunk of chunks) {
    for (const byte of chunk) {
      yield Buffer.of(byte);
      await turn();
    }
  }
};

/** The connections break after so many bytes. @param bytes asked for each body */
export const cutAfter = (bytes: () => number): Shape =>
  async function* (chunks) {
    let left = bytes();
    for await (const chunk of chunks) {
      if (chunk.length > left) {
        yield chunk.subarray(0, left);
        throw new Error('cut');
      }
      left -= chunk.length;
      yield chunk;
    }
  };
