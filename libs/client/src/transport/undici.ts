import type { SealwireError } from '@sealwire/core';
import { Agent, type Dispatcher } from 'undici';
import { badConfiguration } from '../errors.js';
import { explained } from './hint.js';
import { answered, headersOf } from './http.js';
import { checkUrl } from './network.js';
import { asBody, badHeaders, maxResponse, type Transport } from './transport.js';
import { BYTES, checkOptions, hasMethod } from './transport-options.js';

/** Options of {@link undiciTransport}. */
export interface UndiciTransportOptions {
  /** bytes of an answer that are read at most; a longer result ends its call with `too_large` (default 64 MiB) */
  readonly maxResponse?: number;
  /** opens and keeps the connections, for example a `Pool` or a `ProxyAgent` of undici; whoever made it closes it */
  readonly dispatcher?: Dispatcher;
  /** connections to one server at most (default: as many as there are requests at a time) */
  readonly connections?: number;
}

const RULES = {
  maxResponse: BYTES,
  dispatcher: [(value: unknown) => hasMethod(value, 'request'), 'a Dispatcher of undici, such as a Pool'],
  connections: [(value: unknown) => Number.isSafeInteger(value) && (value as number) > 0, 'a whole number above 0'],
} as const;

/**
 * Each frame is a request of undici, over a pool of connections. Redirects are not followed, no content encoding is asked for,
 * and of an answer that is no frame 4 KiB are read. `undici` has to be installed.
 *
 * @throws SealwireError `bad_configuration` for an option that does not exist, or a value that it does not take
 * @example
 * import { undiciTransport } from '@sealwire/client/undici';
 * import { ProxyAgent } from 'undici';
 *
 * createRemote({
 *   url: 'https://api.example.com/remote/payments',
 *   serverKey: 'swp1...',
 *   transport: undiciTransport({ dispatcher: new ProxyAgent('http://proxy.example.com:3128') }),
 * });
 */
export function undiciTransport(options: UndiciTransportOptions = {}): Transport {
  const checked = checkOptions('undiciTransport', options, RULES);
  const { dispatcher: given, connections } = checked;
  if (given && connections !== undefined) {
    throw badConfiguration('A dispatcher has a number of connections of its own.');
  }
  const most = maxResponse(checked as Transport);
  let dispatcher = given;
  return {
    check: checkUrl,
    maxResponse: most,
    requestStreams: true,
    async send(request) {
      const { url, body, signal } = request;
      signal.throwIfAborted();
      const headers = headersOf(request);
      dispatcher ??= new Agent(connections === undefined ? {} : { connections });
      const { origin, pathname, search } = new URL(url);
      const answer = await dispatcher
        .request({
          origin,
          path: `${pathname}${search}`,
          method: 'POST',
          headers,
          body: asBody(body),
          signal,
          // a call has limits of its own
          headersTimeout: 0,
          bodyTimeout: 0,
        } as object as Dispatcher.RequestOptions)
        .catch((error: unknown) => {
          throw misconfigured(error) ?? explained(error, url, signal);
        });
      const { statusCode: status } = answer;
      return answered({ status, headers: answer.headers, body: answer.body }, request, most);
    },
  };
}

/** undici refuses names and values that no header may have. */
function misconfigured(error: unknown): SealwireError | undefined {
  return (error as { code?: unknown }).code === 'UND_ERR_INVALID_ARG' ? badHeaders(error) : undefined;
}
