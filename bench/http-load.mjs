import { once } from 'node:events';
import { connect } from 'node:net';

/**
 * A keep-alive HTTP/1.1 connection that does as little as it can: node:http's own client costs more than some of the
 * servers measured here, and the load must never be the slower side.
 */
export class Connection {
  #socket;
  #chunks = [];
  #missing = 0;
  #settle;

  static async open(port) {
    const connection = new Connection();
    connection.#socket = connect(port, '127.0.0.1').setNoDelay(true);
    await once(connection.#socket, 'connect');
    connection.#socket.on('data', (data) => connection.#receive(data));
    connection.#socket.on('close', () => connection.#settle?.reject(new Error('the server closed the connection')));
    return connection;
  }

  /** One at a time. Resolves to the answer's body; rejects where the status is not 2xx. */
  send(request) {
    return new Promise((resolve, reject) => {
      if (this.#socket.destroyed) throw new Error('the server had closed the connection');
      this.#settle = { resolve, reject };
      this.#socket.write(request);
    });
  }

  close() {
    this.#settle = undefined;
    this.#socket.destroy();
  }

  #receive(data) {
    if (this.#missing === 0) {
      const end = data.indexOf('\r\n\r\n');
      const head = data.latin1Slice(0, end);
      const length = /\r\ncontent-length: (\d+)/i.exec(head)?.[1];
      if (end < 0 || length === undefined || head[9] !== '2') {
        this.#settle.reject(new Error(`unexpected answer:\n${data.toString('latin1').slice(0, 600)}`));
        return;
      }
      this.#chunks = [];
      this.#missing = Number(length);
      data = data.subarray(end + 4);
    }
    this.#chunks.push(data);
    this.#missing -= data.length;
    if (this.#missing > 0) return;
    this.#settle.resolve(this.#chunks.length === 1 ? data : Buffer.concat(this.#chunks));
  }
}

export function openConnections(port, count) {
  return Promise.all(Array.from({ length: count }, () => Connection.open(port)));
}

/** The bytes of one request, head and body together. */
export function encodeRequest(path, contentType, body) {
  const head =
    `POST ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: ${contentType}\r\n` +
    `Content-Length: ${body.length}\r\n\r\n`;
  return Buffer.concat([Buffer.from(head, 'latin1'), body]);
}

/** Sends all requests over the connections, each connection the next one as soon as it is free. Milliseconds it took. */
export async function drive(connections, requests, onAnswer = () => undefined) {
  let next = 0;
  const started = performance.now();
  await Promise.all(
    connections.map(async (connection) => {
      while (next < requests.length) {
        const index = next++;
        onAnswer(index, await connection.send(requests[index]));
      }
    }),
  );
  return performance.now() - started;
}
