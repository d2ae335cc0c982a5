import { webPrimitives } from '@sealwire/core/webcrypto';
import type { RemoteOptions } from './options.js';
import { openRemote, type Remote } from './remote.js';

export * from './common.js';

/**
 * Makes a typed client of one module, in a browser or another runtime without `node:crypto`. Nothing is sent before the first
 * call.
 *
 * @throws PolicyError or SealwireError `bad_configuration` or `bad_key` with a sentence that says what to change
 * @example
 * import type { PaymentsController } from './payments.controller.js';
 *
 * const payments = createRemote<RemoteApi<PaymentsController>>({ url: '/remote/payments', serverKey: 'swp1...' });
 * const balance = await payments.balance('alice');
 */
export function createRemote<Api>(options: RemoteOptions<Api>): Remote<Api> {
  return openRemote<Api>(options, webPrimitives);
}

/** SHA-256 of bytes, for packages that build on this one. */
export const ɵsha256 = (bytes: Uint8Array): Uint8Array => webPrimitives.sha256(bytes);
