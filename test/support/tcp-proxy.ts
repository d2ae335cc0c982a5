import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { Transform } from 'node:stream';

/** A way to a TCP server which can be frozen: everything then stays on the way, new connections too, until it thaws. */
export class TcpProxy {
  private frozen = false;
  private readonly lines = new Set<{ run(): void; stop(): void; end(): void }>();

  private constructor(
    readonly url: string,
    private readonly server: ReturnType<typeof createServer>,
  ) {}

  /**
   * @param target URL with host and port; the proxy's differs in its port
   * @param change what becomes of each piece that the server sends
   */
  static async start(target: string, change: (chunk: Buffer) => Buffer = (chunk) => chunk): Promise<TcpProxy> {
    const { hostname, port } = new URL(target);
    const server = createServer((client) => proxy.take(client, connect(Number(port), hostname), change));
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const url = new URL(target);
    url.port = String((server.address() as AddressInfo).port);
    const proxy = new TcpProxy(url.href, server);
    return proxy;
  }

  freeze(): void {
    this.frozen = true;
    for (const line of this.lines) line.stop();
  }

  thaw(): void {
    this.frozen = false;
    for (const line of this.lines) line.run();
  }

  /** Ends every connection that is open; new ones are taken. */
  cut(): void {
    for (const line of this.lines) line.end();
  }

  async close(): Promise<void> {
    for (const line of this.lines) line.end();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private take(client: Socket, server: Socket, change: (chunk: Buffer) => Buffer): void {
    const back = new Transform({ transform: (chunk, _, done) => done(null, change(chunk)) });
    const line = {
      run() {
        client.pipe(server);
        server.pipe(back).pipe(client);
      },
      stop() {
        client.unpipe();
        server.unpipe();
        back.unpipe();
      },
      end() {
        client.destroy();
        server.destroy();
      },
    };
    this.lines.add(line);
    const gone = () => {
      this.lines.delete(line);
      line.end();
    };
    for (const socket of [client, server]) socket.on('error', () => undefined).on('close', gone);
    if (!this.frozen) line.run();
  }
}
