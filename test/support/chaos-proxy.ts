import { Agent, createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** How often each fault strikes, 0 to 1. */
export interface Faults {
  /** the request reaches no server, the connection breaks */
  dropRequest?: number;
  /** a server answers, the connection breaks before the client hears of it */
  dropResponse?: number;
  /** the request goes out twice at once, each to the next server; the client gets the answer that comes first */
  duplicate?: number;
  /** some time later the same request goes out again */
  replayRequest?: number;
  /** the client gets an answer that was meant for an earlier request */
  replayResponse?: number;
  /** the request waits first, and so does its answer */
  delay?: number;
  /** milliseconds */
  maximumDelay?: number;
}

export interface Upstream {
  /** undefined while it is down */
  readonly url: string | undefined;
}

export interface ChaosOptions {
  upstreams: readonly Upstream[];
  /** one server after the other; the first that is up; or each request to all of them at the same moment */
  route?: 'round-robin' | 'first' | 'all';
  faults?: Faults;
  seed?: number;
}

export interface Exchange {
  readonly path: string;
  readonly contentType: string;
  readonly body: Buffer;
}

interface Answer {
  status: number;
  contentType: string;
  body: Buffer;
}

const REMEMBERED = 64;

/**
 * What a network may do to a body at worst, short of opening it. Faults come from a seeded generator, so that a bad run can
 * be tried again with its seed.
 */
export class ChaosProxy {
  /** every request as the client sent it, in order */
  readonly recorded: Exchange[] = [];
  readonly count: Record<keyof Omit<Faults, 'maximumDelay'>, number> = {
    dropRequest: 0,
    dropResponse: 0,
    duplicate: 0,
    replayRequest: 0,
    replayResponse: 0,
    delay: 0,
  };
  faults: Faults;
  private readonly answers: Answer[] = [];
  private readonly agent = new Agent({ keepAlive: true });
  private readonly random: () => number;
  private readonly server = createServer((incoming, response) => {
    // whatever breaks in here is, to the client, one more broken connection
    this.serve(incoming, response).catch(() => response.destroy());
  });
  private readonly late = new Set<Promise<unknown>>();
  private next = 0;

  private constructor(private readonly options: ChaosOptions) {
    this.faults = options.faults ?? {};
    this.random = mulberry32(options.seed ?? 1);
  }

  static async start(options: ChaosOptions): Promise<ChaosProxy> {
    const proxy = new ChaosProxy(options);
    await new Promise<void>((resolve) => proxy.server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Sends a recorded request to one server, untouched. */
  replay(exchange: Exchange, upstream: Upstream): Promise<Answer> {
    return this.send(exchange, upstream);
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
    await Promise.allSettled(this.late);
    this.agent.destroy();
  }

  private async serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const exchange = await read(incoming);
    this.recorded.push(exchange);
    if (this.strikes('delay')) await sleep(this.pause());
    if (this.strikes('dropRequest')) return void response.destroy();
    if (this.strikes('replayRequest')) this.later(exchange);
    const answer = await this.forward(exchange);
    if (this.strikes('dropResponse')) return void response.destroy();
    if (this.strikes('delay')) await sleep(this.pause());
    const old = this.answers[Math.floor(this.random() * this.answers.length)];
    const given = old && this.strikes('replayResponse') ? old : answer;
    this.answers.push(answer);
    if (this.answers.length > REMEMBERED) this.answers.shift();
    response.writeHead(given.status, { 'content-type': given.contentType, 'content-length': given.body.length });
    response.end(given.body);
  }

  private forward(exchange: Exchange): Promise<Answer> {
    const up = this.options.upstreams.filter(({ url }) => url !== undefined);
    const [first] = up;
    if (!first) return Promise.resolve(badGateway());
    if (this.options.route === 'all') return firstGood(up.map((upstream) => this.send(exchange, upstream)));
    const pick = () => (this.options.route === 'first' ? first : (up[this.next++ % up.length] ?? first));
    if (!this.strikes('duplicate')) return this.send(exchange, pick());
    return firstGood([this.send(exchange, pick()), this.send(exchange, pick())]);
  }

  private later(exchange: Exchange): void {
    const replayed = sleep(this.pause()).then(() => this.forward(exchange));
    const task: Promise<unknown> = replayed.catch(() => undefined).finally(() => this.late.delete(task));
    this.late.add(task);
  }

  private send(exchange: Exchange, upstream: Upstream): Promise<Answer> {
    return new Promise((resolve) => {
      const outgoing = request(`${upstream.url}${exchange.path}`, {
        method: 'POST',
        agent: this.agent,
        headers: { 'content-type': exchange.contentType, 'content-length': exchange.body.length },
      });
      outgoing.once('error', () => resolve(badGateway()));
      outgoing.once('response', (incoming) => {
        read(incoming).then(
          ({ contentType, body }) => resolve({ status: incoming.statusCode ?? 502, contentType, body }),
          () => resolve(badGateway()),
        );
      });
      outgoing.end(exchange.body);
    });
  }

  private strikes(fault: keyof typeof this.count): boolean {
    const struck = this.random() < (this.faults[fault] ?? 0);
    if (struck) this.count[fault]++;
    return struck;
  }

  private pause(): number {
    return this.random() * (this.faults.maximumDelay ?? 100);
  }
}

/** The first answer that opened something, else the first of a server, else the proxy's own. */
async function firstGood(answers: Promise<Answer>[]): Promise<Answer> {
  const unless = async (answer: Promise<Answer>, refused: (status: number) => boolean) => {
    const given = await answer;
    return refused(given.status) ? Promise.reject(new Error()) : given;
  };
  return Promise.any(answers.map((answer) => unless(answer, (status) => status !== 200)))
    .catch(() => Promise.any(answers.map((answer) => unless(answer, (status) => status === 502))))
    .catch(badGateway);
}

function badGateway(): Answer {
  return { status: 502, contentType: 'text/html', body: Buffer.from('<h1>502 Bad Gateway</h1>') };
}

async function read(incoming: IncomingMessage): Promise<Exchange> {
  const parts: Buffer[] = [];
  for await (const part of incoming) parts.push(part as Buffer);
  return {
    path: incoming.url ?? '/',
    contentType: incoming.headers['content-type'] ?? '',
    body: Buffer.concat(parts),
  };
}

/** A small seeded generator, 0 to 1; nothing secret depends on it. */
export function mulberry32(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
