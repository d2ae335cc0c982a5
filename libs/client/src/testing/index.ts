import type { ClientPrimitives } from '@sealwire/core';
import { openCaller } from '../delivery/delivery.js';
import type { RemoteOptions, Tuning } from '../options.js';
import { openRemote, type Remote } from '../remote.js';
import {
  fetchTransport,
  type Transport,
  type TransportRequest,
  type TransportResponse,
} from '../transport/transport.js';

export type { Tuning } from '../options.js';

/**
 * Hands every request to a function in this process. Bodies are copied, as a network would.
 *
 * @param answer rejects if no answer shall come
 * @example
 * const transport = loopbackTransport(() => ({ status: 503, contentType: 'text/html', body: new Uint8Array() }));
 */
export function loopbackTransport(
  answer: (request: TransportRequest) => TransportResponse | Promise<TransportResponse>,
): Transport {
  return {
    requestStreams: true,
    async send(request) {
      request.signal.throwIfAborted();
      const { body } = request;
      const response = await answer({ ...request, body: body instanceof Uint8Array ? body.slice() : body });
      request.signal.throwIfAborted();
      return { ...response, body: response.body instanceof Uint8Array ? response.body.slice() : response.body };
    },
  };
}

/**
 * `createRemote` with lower limits, to see in a test what otherwise takes minutes or millions of calls.
 *
 * @param tuning limits of PROTOCOL.md appendix B.1 in their units
 * @example
 * import { nodePrimitives } from '@sealwire/core/node';
 *
 * const remote = createTestRemote<{ rates(): Promise<number> }>(
 *   { url: 'http://localhost:3000/remote/payments', serverKey: 'swp1...', primitives: nodePrimitives },
 *   { callsPerEpoch: 2 },
 * );
 * await remote.rates();
 */
export function createTestRemote<Api>(
  options: RemoteOptions & { readonly primitives: ClientPrimitives },
  tuning: Partial<Tuning>,
): Remote<Api> {
  return openRemote<Api>(options, { primitives: options.primitives, transport: fetchTransport }, openCaller, tuning);
}
