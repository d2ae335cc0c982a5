import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

interface Settle {
  readonly resolve: (body: Buffer) => void;
  readonly reject: (reason: Error) => void;
}

const LAST_CHUNK = Buffer.from('0\r\n\r\n');

/**
 * A keep-alive HTTP/1.1 connection that does as little as it can: node:http's own client costs more than some of the
 * servers measured here, and the load must never be the slower side.
 */
export class Connection {
  #chunks: Buffer[] = [];
  /** bytes of the body that are not here yet; Infinity for a body in chunks */
  #missing = 0;
  #settle: Settle | undefined;

  private constructor(private readonly socket: Socket) {
    socket.on('data', (data: Buffer) => this.#receive(data));
    socket.on('close', () => this.#settle?.reject(new Error('the server closed the connection')));
  }

  static async open(port: number): Promise<Connection> {
    const socket = connect(port, '127.0.0.1').setNoDelay(true);
    await once(socket, 'connect');
    return new Connection(socket);
  }

  /** One at a time. Resolves to the answer's body; rejects if the status is not 2xx. */
  send(request: Buffer): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      if (this.socket.destroyed) throw new Error('the server had closed the connection');
      this.#settle = { resolve, reject };
      this.socket.write(request);
    });
  }

  close(): void {
    this.#settle = undefined;
    this.socket.destroy();
  }

  #receive(data: Buffer): void {
    if (this.#missing === 0) {
      const end = data.indexOf('\r\n\r\n');
      const head = data.toString('latin1', 0, Math.max(end, 0));
      const length = /\r\ncontent-length: (\d+)/i.exec(head)?.[1];
      const isChunked = /\r\ntransfer-encoding: chunked/i.test(head);
      if (head[9] !== '2' || (length === undefined && !isChunked)) {
        this.#settle?.reject(new Error(`unexpected answer:\n${data.toString('latin1').slice(0, 600)}`));
        return;
      }
      this.#chunks = [];
      this.#missing = isChunked ? Number.POSITIVE_INFINITY : Number(length);
      data = data.subarray(end + 4);
    }
    this.#chunks.push(data);
    if (this.#missing === Number.POSITIVE_INFINITY) {
      const tail = Buffer.concat(this.#chunks.slice(-2)).subarray(-LAST_CHUNK.length);
      if (tail.equals(LAST_CHUNK)) this.#finish(joinChunks(Buffer.concat(this.#chunks)));
      return;
    }
    this.#missing -= data.length;
    if (this.#missing === 0) this.#finish(this.#chunks.length === 1 ? data : Buffer.concat(this.#chunks));
  }

  #finish(body: Buffer): void {
    this.#missing = 0;
    this.#settle?.resolve(body);
  }
}

/** The body that a chunked transfer carries. */
function joinChunks(encoded: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; ; ) {
    const line = encoded.indexOf('\r\n', at);
    const length = Number.parseInt(encoded.toString('latin1', at, line), 16);
    if (!(length > 0)) return Buffer.concat(parts);
    parts.push(encoded.subarray(line + 2, line + 2 + length));
    at = line + 4 + length;
  }
}

export function openConnections(port: number, count: number): Promise<Connection[]> {
  return Promise.all(Array.from({ length: count }, () => Connection.open(port)));
}

/** The bytes of one request, head and body together. */
export function encodeRequest(path: string, contentType: string, body: Uint8Array): Buffer {
  const head =
    `POST ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: ${contentType}\r\n` +
    `Content-Length: ${body.length}\r\n\r\n`;
  return Buffer.concat([Buffer.from(head, 'latin1'), body]);
}

/** Sends all requests over the connections, each connection the next one as soon as it is free. Milliseconds it took. */
export async function drive(
  connections: readonly Connection[],
  requests: readonly Buffer[],
  onAnswer: (index: number, answer: Buffer) => void = () => undefined,
): Promise<number> {
  let next = 0;
  const started = performance.now();
  await Promise.all(
    connections.map(async (connection) => {
      while (next < requests.length) {
        const index = next++;
        const request = requests[index];
        if (request) onAnswer(index, await connection.send(request));
      }
    }),
  );
  return performance.now() - started;
}
