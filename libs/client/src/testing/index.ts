import type { Primitives } from '@sealwire/core';
import type { RemoteOptions, Tuning } from '../options.js';
import { openRemote, type Remote } from '../remote.js';
import type { Transport, TransportRequest, TransportResponse } from '../transport/transport.js';

export type { Tuning } from '../options.js';

/** Hands every request to a function in this process. Bodies are copied, as a network would. */
export function loopbackTransport(
  answer: (request: TransportRequest) => TransportResponse | Promise<TransportResponse>,
): Transport {
  return {
    async send(request) {
      request.signal.throwIfAborted();
      const response = await answer({ ...request, body: request.body.slice() });
      request.signal.throwIfAborted();
      return { ...response, body: response.body.slice() };
    },
  };
}

/** `createRemote` with lower limits, to see in a test what otherwise takes minutes or millions of calls. */
export function createTestRemote<Api>(
  options: RemoteOptions & { readonly primitives: Primitives },
  tuning: Partial<Tuning>,
): Remote<Api> {
  return openRemote<Api>(options, options.primitives, tuning);
}
