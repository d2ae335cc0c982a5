import {
  type ClientRequest,
  Agent as HttpAgent,
  request as httpRequest,
  type OutgoingHttpHeaders,
  type RequestOptions,
} from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { SealwireError, unknownOption } from '@sealwire/core';
import { explained, unreachable } from './hint.js';
import { checkUrl } from './network.js';
import { answered, headersOf, misused } from './node-body.js';
import { maxResponse, type Transport, type TransportRequest } from './transport.js';

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

/** Idle connections are closed by servers of Node after 5 seconds. */
const IDLE_MS = 4_000;
/** Bytes that may wait in a request before its source does: the next piece is made while one is on its way. */
const AHEAD = 262_144;
const kept = { keepAlive: true, timeout: IDLE_MS };
const agents: Partial<Record<string, HttpAgent>> = {};
/**
 * One request of `node:http` or `node:https` for each frame, over connections that are kept. It is what `createRemote` uses on
 * Node. Redirects are not followed, no content encoding is asked for, and of an answer that is no frame 4 KiB are read.
 *
 * @throws SealwireError `bad_configuration` for an option that does not exist
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
export function httpTransport(options: HttpTransportOptions = {}): Transport {
  unknownOption(options, ['maxResponse', 'agent', 'ca'], 'httpTransport');
  const { agent, ca } = options;
  const most = maxResponse(options as Transport);
  let parsed: { readonly url: string; readonly target: Target } | undefined;
  return {
    check(url) {
      checkUrl(url);
      const { protocol } = new URL(url);
      const of = (agent as { protocol?: string } | undefined)?.protocol;
      if (of !== undefined && of !== protocol)
        throw misused(`The agent makes connections for ${of}//, not for ${url}.`);
      if (ca !== undefined && protocol !== 'https:') throw misused(`ca has no meaning for ${url}.`);
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
      destroy(signal.reason);
    };
    signal.addEventListener('abort', abort);
    sending.once('close', () => signal.removeEventListener('abort', abort));
    sending.on('error', (error) => reject(misfortune(error, request.url, connected())));
    sending.once('response', (response) => {
      destroy = (reason) => response.destroy(reason as Error);
      const { statusCode: status = 0, headers } = response;
      answered({ status, headers, body: response }, request, most).then(resolve, reject);
    });
    if (body instanceof Uint8Array) sending.end(body);
    else void pump(body instanceof Blob ? body.stream() : body, sending, request.onUpload);
  });
}

/** @throws SealwireError `bad_configuration` */
function open({ secure, ...target }: Target, headers: OutgoingHttpHeaders): ClientRequest {
  try {
    return secure ? httpsRequest({ ...target, headers }) : httpRequest({ ...target, headers });
  } catch (error) {
    throw new SealwireError('bad_configuration', `headers: ${(error as Error).message}`, { cause: error });
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

function misfortune(error: Error, url: string, stood: boolean): unknown {
  const known = explained(error, url);
  return stood || known !== error ? known : unreachable(error, url);
}

/** Sends a stream as fast as the connection takes it. */
async function pump(
  body: ReadableStream<Uint8Array>,
  sending: ClientRequest,
  onUpload: TransportRequest['onUpload'],
): Promise<void> {
  const reader = body.getReader();
  let go = (): void => {};
  let written = 0;
  const told = (length: number) => (error?: Error | null) => {
    written += length;
    if (!error) onUpload?.(written);
  };
  sending.on('drain', () => go());
  sending.once('close', () => {
    go();
    reader.cancel().catch(() => {});
  });
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (sending.destroyed) return;
      if (done) break;
      if (sending.write(value, onUpload && told(value.length)) || sending.writableLength < AHEAD) continue;
      await new Promise<void>((resolve) => {
        go = resolve;
      });
    }
    sending.end();
  } catch (error) {
    sending.destroy(error as Error);
  }
}
