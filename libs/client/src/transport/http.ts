import {
  type ClientRequest,
  Agent as HttpAgent,
  request as httpRequest,
  type OutgoingHttpHeaders,
  type RequestOptions,
} from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import type { Readable } from 'node:stream';
import { CONTENT_TYPE } from '@sealwire/core';
import { badConfiguration } from '../errors.js';
import type { BodyReader } from './body.js';
import { brokenOff, explained, unreachable } from './hint.js';
import { checkUrl } from './network.js';
import { decoded, pump } from './node-body.js';
import {
  badHeaders,
  directions,
  maxResponse,
  readBody,
  type Transport,
  type TransportRequest,
  type TransportResponse,
} from './transport.js';
import { BYTES, checkOptions, hasMethod } from './transport-options.js';

/** Options of {@link httpTransport}. */
export interface HttpTransportOptions {
  /** bytes of an answer that are read at most; a longer result ends its call with `too_large` (default 64 MiB) */
  readonly maxResponse?: number;
  /**
   * Opens and keeps the connections: an `Agent` of `node:http` for `http://`, of `node:https` for `https://`, or one of a proxy
   * (default: one that all remotes of the process share, which keeps an idle connection for 4 seconds).
   */
  readonly agent?: HttpAgent;
  /** authorities, in PEM, whose certificates are taken in place of those that Node brings */
  readonly ca?: string | readonly string[];
}

const RULES = {
  maxResponse: BYTES,
  agent: [(value: unknown) => hasMethod(value, 'addRequest'), 'an Agent of node:http or node:https'],
  ca: [isPem, 'one certificate or several, as text in PEM'],
} as const;

function isPem(value: unknown): boolean {
  const all: unknown[] = [value].flat();
  return all.length > 0 && all.every((one) => typeof one === 'string' && one.includes('-----BEGIN CERTIFICATE-----'));
}

/** Idle connections are closed by servers of Node after 5 seconds. */
const IDLE_MS = 4_000;
const kept = { keepAlive: true, timeout: IDLE_MS };
const agents: Partial<Record<string, HttpAgent>> = {};

/**
 * One request of `node:http` or `node:https` for each frame, over connections that are kept. It is what `createRemote` uses on
 * Node. Redirects are not followed, no content encoding is asked for, and of an answer that is no frame 4 KiB are read.
 *
 * @throws SealwireError `bad_configuration` for an option that does not exist, or a value that it does not take
 * @example
 * import { readFileSync } from 'node:fs';
 * import { httpTransport } from '@sealwire/client/http';
 *
 * createRemote({
 *   url: 'https://api.example.com/remote/payments',
 *   serverKey: 'swp1...',
 *   transport: httpTransport({ ca: readFileSync('authority.pem', 'utf8') }),
 * });
 */
export function httpTransport(given: HttpTransportOptions = {}): Transport {
  const options = checkOptions('httpTransport', given, RULES);
  const { agent, ca } = options;
  const most = maxResponse(options as Transport);
  let parsed: { readonly url: string; readonly target: Target } | undefined;
  return {
    check(url) {
      checkUrl(url);
      const { protocol } = new URL(url);
      const of = (agent as { protocol?: string } | undefined)?.protocol;
      if (of !== undefined && of !== protocol)
        throw badConfiguration(`The agent makes connections for ${of}//, not for ${url}.`);
      if (ca !== undefined && protocol !== 'https:') throw badConfiguration(`ca has no meaning for ${url}.`);
    },
    maxResponse: most,
    requestStreams: true,
    uploadProgress: true,
    async send(request) {
      const { url } = request;
      if (parsed?.url !== url) parsed = { url, target: targetOf(url, agent, ca) };
      return post(request, parsed.target, most);
    },
  };
}

interface Target extends RequestOptions {
  readonly secure: boolean;
}

function targetOf(url: string, agent: HttpAgent | undefined, ca: HttpTransportOptions['ca']): Target {
  const { protocol, hostname, port, pathname, search } = new URL(url);
  const secure = protocol === 'https:';
  agents[protocol] ??= secure ? new HttpsAgent(kept) : new HttpAgent(kept);
  return {
    secure,
    protocol,
    hostname: hostname.replace(/^\[|\]$/g, ''),
    ...(port === '' ? {} : { port }),
    path: `${pathname}${search}`,
    method: 'POST',
    agent: agent ?? agents[protocol],
    ...(ca === undefined ? {} : ({ ca } as object)),
  };
}

function post(request: TransportRequest, target: Target, most: number): ReturnType<Transport['send']> {
  return new Promise((resolve, reject) => {
    const { signal, body } = request;
    signal.throwIfAborted();
    const sending = open(target, headersOf(request));
    const connected = watch(sending, target.secure);
    let destroy = (reason: unknown): unknown => sending.destroy(reason as Error);
    const abort = (): void => {
      reject(signal.reason);
      // a server that does not read hears nothing of an end behind bytes that still wait for it
      if (!target.secure && !sending.writableFinished) sending.socket?.resetAndDestroy();
      destroy(signal.reason);
    };
    let isAnswered = false;
    signal.addEventListener('abort', abort);
    sending.once('close', () => {
      signal.removeEventListener('abort', abort);
      // Node tells no error of a connection that it closes because its server wants to speak another protocol
      if (!isAnswered)
        reject(brokenOff(new Error('the connection was closed before an answer came'), request.url, signal));
    });
    sending.on('error', (error) => reject(misfortune(error, request, connected())));
    sending.once('response', (response) => {
      isAnswered = true;
      destroy = (reason) => response.destroy(reason as Error);
      const { statusCode: status = 0, headers } = response;
      answered({ status, headers, body: response }, request, most).then(resolve, reject);
    });
    if (body instanceof Uint8Array) sending.end(body);
    else void pump(body, sending, request.onUpload);
  });
}

/** @throws SealwireError `bad_configuration` */
function open({ secure, ...target }: Target, headers: OutgoingHttpHeaders): ClientRequest {
  try {
    return secure ? httpsRequest({ ...target, headers }) : httpRequest({ ...target, headers });
  } catch (error) {
    throw badHeaders(error);
  }
}

/** Whether its connection ever stood: before that no byte of the body left. */
function watch(sending: ClientRequest, secure: boolean): () => boolean {
  let stood = false;
  sending.once('socket', (socket) => {
    stood = !socket.connecting && !(socket as { secureConnecting?: boolean }).secureConnecting;
    if (stood) return;
    socket.once(secure ? 'secureConnect' : 'connect', () => {
      stood = true;
    });
  });
  return () => stood;
}

function misfortune(error: Error, { url, signal }: TransportRequest, stood: boolean): unknown {
  if (stood) return brokenOff(error, url, signal);
  const known = explained(error, url, signal, true);
  const { code } = known as { code?: unknown };
  return code === 'bad_configuration' || code === 'unreachable' ? known : unreachable(error, url);
}

/** Bytes that wait for a reader before the connection is read no further. */
const UNREAD = 65_536;

type Waiting = { resolve(read: { done: boolean; value?: Uint8Array }): void; reject(error: unknown): void };

/** Reads a stream of Node as it arrives. */
class NodeReader implements BodyReader {
  readonly #parts: Uint8Array[] = [];
  #bytes = 0;
  #waiting: Waiting | undefined;
  #ended = false;
  #error: unknown;

  constructor(private readonly stream: Readable) {
    stream.on('data', (part: Buffer) => this.#take(new Uint8Array(part.buffer, part.byteOffset, part.length)));
    stream.once('end', () => this.#end());
    stream.on('error', (error) => this.#end(error));
    stream.once('close', () => this.#end(new Error('The connection was closed before the end of the answer.')));
  }

  read(): Promise<{ done: boolean; value?: Uint8Array }> {
    const value = this.#parts.shift();
    if (value) {
      this.#bytes -= value.length;
      return Promise.resolve({ done: false, value });
    }
    if (this.#error !== undefined) return Promise.reject(this.#error);
    if (this.#ended) return Promise.resolve({ done: true });
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      if (this.stream.isPaused()) this.stream.resume();
    });
  }

  async cancel(): Promise<void> {
    this.stream.destroy();
  }

  #take(value: Uint8Array): void {
    const waiting = this.#waiting;
    if (waiting) {
      this.#waiting = undefined;
      waiting.resolve({ done: false, value });
      return;
    }
    this.#parts.push(value);
    this.#bytes += value.length;
    if (this.#bytes >= UNREAD) this.stream.pause();
  }

  #end(error?: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (error === undefined) waiting?.resolve({ done: true });
    else waiting?.reject(error);
  }
}

/** Headers that say how a body is sent, which only its sender knows. */
const FRAMING: ReadonlySet<string> = new Set([
  'connection',
  'content-length',
  'expect',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** @throws SealwireError `bad_configuration` for headers that say how the body is sent */
export function headersOf({ headers, contentType, body }: TransportRequest): Record<string, string> {
  const all: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers ?? {})) {
    const lower = name.toLowerCase();
    if (FRAMING.has(lower)) throw badConfiguration(`headers: ${name} is set by whoever sends the body.`);
    all[lower] = value;
  }
  all['content-type'] = contentType;
  all['accept-encoding'] = 'identity';
  if (body instanceof Blob) all['content-length'] = String(body.size);
  return all;
}

/** An answer as Node's clients give it: names of headers in lower case. */
interface NodeAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly body: Readable;
}

/** Reads an answer: whole, or the beginning of a live one. */
export async function answered(
  { status, headers, body }: NodeAnswer,
  { contentType, url, signal }: TransportRequest,
  maxResponse: number,
): Promise<TransportResponse> {
  const text = (name: string) => [headers[name] ?? []].flat()[0];
  const encoding = text('content-encoding');
  return {
    status,
    contentType: text('content-type') ?? '',
    headers: Object.entries(headers).flatMap(([name, values]) =>
      [values ?? []].flat().map((value) => [name, value] as const),
    ),
    body: await readBody(
      new NodeReader(encoding === undefined ? body : decoded(body, encoding)),
      maxResponse,
      contentType === CONTENT_TYPE,
    ).catch((error: unknown) => {
      throw brokenOff(error, url, signal);
    }),
    ...directions(text('retry-after'), text('location')),
  };
}
