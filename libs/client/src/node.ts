import { nodePrimitives } from '@sealwire/core/node';
import type { RemoteOptions } from './options.js';
import { openRemote, type Remote } from './remote.js';

export * from './common.js';

/**
 * A typed client of one module: `createRemote<RemoteApi<PaymentsController>>({ url, serverKey, secureKey })`. Nothing is
 * sent before the first call.
 *
 * @throws PolicyError or SealwireError with a sentence that says what to change
 */
export function createRemote<Api>(options: RemoteOptions): Remote<Api> {
  return openRemote<Api>(options, nodePrimitives);
}
