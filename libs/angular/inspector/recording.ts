import {
  type BodyReader,
  describeFrame,
  type FrameField,
  StreamBody,
  type Transport,
  type TransportRequest,
  type TransportResponse,
  type WriteParts,
} from '@sealwire/client';
import { BodyMeter } from './body-meter.js';
import type { Exchange, Tampering, WireSide } from './exchange.js';
import { cut } from './values.js';
import { KEY_BYTES, type Owner, type WireLog } from './wire-log.js';

/** of an answer; more are not shown */
const KEPT_HEADERS = 100;

/** A frame on its way, for whoever stands between application and server. */
export interface Passing extends Owner {
  readonly kind: Exchange['kind'];
  readonly request: TransportRequest;
  /** ids of the recorded calls that it carries, as far as they are known before it leaves */
  readonly calls: readonly number[];
  /** Hands it on, altered or not. */
  send(request?: TransportRequest, tampering?: Tampering): Promise<Passed>;
}

/** What the server answered. */
export interface Passed {
  readonly response: TransportResponse;
  /** id of the recorded exchange; undefined while recording is paused */
  readonly exchange: number | undefined;
}

/** Sees each frame before it leaves, and gives the answer that the application gets. */
export type Between = (passing: Passing) => Promise<TransportResponse>;

const [START, FINISH, CALL] = [0x01, 0x03, 0x11];

/** What kind of body it is, by its first bytes. */
export function kindOf(head: Uint8Array, contentType: string): Exchange['kind'] {
  if (!contentType.startsWith('application/vnd.sealwire')) return 'plain';
  if (head[0] === START) return 'start';
  if (head[0] === FINISH) return 'finish';
  return head[0] === CALL && fieldOf(head, 'lane')?.value === 0 ? 'ask' : 'call';
}

function fieldOf(head: Uint8Array, name: string): FrameField | undefined {
  return describeFrame(head)?.fields.find((field) => field.name === name);
}

/** A frame from one of its fields on. */
function from(head: Uint8Array, name: string): Uint8Array {
  return head.subarray(fieldOf(head, name)?.offset);
}

/** A transport that does what the inner one does, and writes down what passes. */
export function recordingTransport(
  log: WireLog,
  inner: Transport,
  owner: Owner,
  options: { readonly isPaused: () => boolean; readonly between: () => Between | undefined },
): Transport {
  const carry = async (request: TransportRequest, tampering?: Tampering): Promise<Passed> => {
    if (options.isPaused()) return { response: await inner.send(request), exchange: undefined };
    const record = new Recording(log, owner, request, tampering);
    return { response: await record.carry(inner), exchange: record.id };
  };
  const send = async (request: TransportRequest): Promise<TransportResponse> => {
    const between = options.between();
    if (!between) return (await carry(request)).response;
    const head = request.body instanceof Uint8Array ? request.body.subarray(0, KEY_BYTES) : new Uint8Array([CALL]);
    const kind = kindOf(head, request.contentType);
    const { calls } = log.freightOf(head);
    const resend: Passing['send'] = (altered = request, tampering) => carry(altered, tampering);
    return between({ ...owner, kind, request, calls, send: resend });
  };
  // all else is the inner transport's, whatever it has
  return new Proxy(inner, {
    get(target, name) {
      if (name === 'send') return send;
      const value: unknown = Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** One request and its answer while they pass. */
class Recording {
  readonly id: number;
  readonly #request = new BodyMeter();
  readonly #answer = new BodyMeter();
  readonly #began = performance.now();
  readonly #startedAt = performance.timeOrigin + this.#began;
  /** of the answer */
  #headers: WireSide['headers'] | undefined;

  constructor(
    private readonly log: WireLog,
    private readonly owner: Owner,
    private readonly sent: TransportRequest,
    tampering: Tampering | undefined,
  ) {
    this.id = log.nextId();
    const { body, url, contentType } = sent;
    if (body instanceof Uint8Array) {
      this.#request.add(body);
      this.#request.end();
    }
    const { head } = this.#request;
    const exchange: Exchange = {
      id: this.id,
      module: owner.module,
      url,
      kind: kindOf(head, contentType),
      attempt: head.length > 0 ? log.attempt(head) : 1,
      startedAt: this.#startedAt,
      ms: undefined,
      state: 'sending',
      request: this.#requestSide(),
      answer: undefined,
      failure: undefined,
      calls: [],
      firstCalls: [],
      handshake: undefined,
      tampering,
    };
    log.exchanges.add(exchange, owner);
    if (head.length > 0) this.#find();
  }

  async carry(inner: Transport): Promise<TransportResponse> {
    try {
      const response = await inner.send(this.#followed());
      return this.#answered(response);
    } catch (error) {
      this.#failed(error);
      throw error;
    }
  }

  /** The request itself if it is complete; a stream is read as the transport reads it. */
  #followed(): TransportRequest {
    const { body } = this.sent;
    if (body instanceof Uint8Array) return this.sent;
    if (body instanceof Blob) {
      this.#look(body).catch(() => {});
      return this.sent;
    }
    const pipe = async (write: WriteParts): Promise<void> => {
      await body.pipe((parts) => {
        for (const part of parts) this.#request.add(part);
        this.#find();
        return write(parts);
      });
      this.#request.end();
      this.#find();
    };
    return { ...this.sent, body: new StreamBody(pipe, (reason) => body.cancel(reason)) };
  }

  /** Looks at a Blob through a window, beside the transport. */
  async #look(body: Blob): Promise<void> {
    const WINDOW = 1024 * 1024;
    for (let at = 0; at < body.size; at += WINDOW) {
      this.#request.add(new Uint8Array(await body.slice(at, at + WINDOW).arrayBuffer()));
      this.#find();
    }
    this.#request.end();
    this.#find();
  }

  /** Which calls and which handshake these bytes belong to. */
  #find(): void {
    const { head } = this.#request;
    const { calls, payloads } = this.log.freightOf(head);
    const kind = kindOf(head, this.sent.contentType);
    const { isLive, shown } = this.#request;
    if (kind === 'call') this.#request.payload = isLive ? this.log.sealedOf(shown) : payloads[0];
    else if (kind === 'ask') this.#request.payload = 0;
    const handshake =
      kind === 'start'
        ? this.log.handshakeOf(this.owner, from(head, 'client ephemeral key'), this.#startedAt)
        : kind === 'finish'
          ? this.log.handshakeOf(this.owner, from(head, 'cookie'), this.#startedAt)
          : undefined;
    const firstCalls = kind === 'finish' ? payloads : [];
    this.log.exchanges.change(this.id, { kind, calls, firstCalls, handshake, request: this.#requestSide() });
  }

  #answered(response: TransportResponse): TransportResponse {
    const { body } = response;
    this.log.exchanges.change(this.id, { answer: this.#answerSide(response), state: 'arriving' });
    if (body instanceof Uint8Array) {
      this.#take(response, body);
      this.#done(response);
      return response;
    }
    const reader: BodyReader = {
      read: async () => {
        try {
          const result = await body.read();
          if (result.value) this.#take(response, result.value);
          // a live result is read to its last piece, and not on
          if (result.done || this.#answer.isOver) this.#done(response);
          return result;
        } catch (error) {
          this.#failed(error);
          throw error;
        }
      },
      cancel: (reason) => {
        // a proxy that cuts it does so on purpose
        if (this.log.exchanges.get(this.id)?.tampering) this.#failed(reason);
        else this.#closed();
        return body.cancel(reason);
      },
    };
    return { ...response, body: reader };
  }

  #take(response: TransportResponse, bytes: Uint8Array): void {
    this.#answer.add(bytes);
    this.log.exchanges.change(this.id, { answer: this.#answerSide(response) });
  }

  #done(response: TransportResponse): void {
    if (this.log.exchanges.get(this.id)?.ms !== undefined) return;
    this.#answer.end();
    const { handshake, kind } = this.log.exchanges.get(this.id) ?? {};
    const { head } = this.#answer;
    if (kind === 'start' && head[0] === 2 && handshake !== undefined) {
      this.log.link(from(head, 'cookie'), handshake);
    }
    this.#end({ state: 'done', answer: this.#answerSide(response) });
  }

  #failed(error: unknown): void {
    if (this.log.exchanges.get(this.id)?.ms !== undefined) return;
    if (this.sent.signal.aborted) this.#closed();
    else this.#end({ state: 'failed', failure: error instanceof Error ? error.message : String(error) });
  }

  #closed(): void {
    if (this.log.exchanges.get(this.id)?.ms !== undefined) return;
    this.#end({ state: 'closed', failure: 'closed by the application, which needs no more of it' });
  }

  #end(changes: Partial<Exchange>): void {
    this.log.exchanges.change(this.id, { ...changes, ms: performance.now() - this.#began });
    this.log.changed();
  }

  #requestSide(): WireSide {
    const { url, contentType, headers, body } = this.sent;
    const base = (globalThis as { location?: { href: string } }).location?.href;
    // what is no URL fails in the transport, with a sentence
    const { host, pathname, search } = URL.canParse(url, base)
      ? new URL(url, base)
      : { host: '', pathname: url, search: '' };
    const size = body instanceof Uint8Array ? body.length : body instanceof Blob ? body.size : undefined;
    const length =
      size === undefined ? (['transfer-encoding', 'chunked'] as const) : (['content-length', `${size}`] as const);
    return {
      line: `POST ${pathname}${search}`,
      headers: [['host', host], ['content-type', contentType], length, ...Object.entries(headers ?? {})],
      body: this.#request.shown,
    };
  }

  #answerSide(response: TransportResponse): WireSide {
    const { status, contentType, headers, retryAfter } = response;
    const known: [string, string][] = [
      ['content-type', contentType],
      ...(retryAfter === undefined ? [] : [['retry-after', `${retryAfter}`] as [string, string]]),
    ];
    this.#headers ??= [...(headers ?? [])].slice(0, KEPT_HEADERS).map(([name, value]) => [name, cut(value)]);
    const seen = this.#headers;
    if (this.#answer.isLive) this.#answer.payload = this.log.openedOf(this.id, this.#answer.shown);
    return { line: `HTTP ${status}`, headers: seen.length > 0 ? seen : known, body: this.#answer.shown };
  }
}
