import { nodePrimitives } from '@sealwire/core/node';
import { openCaller } from './delivery/delivery.js';
import type { RemoteOptions } from './options.js';
import { openRemote, type Remote } from './remote.js';
import { httpTransport } from './transport/http.js';

export * from './common.js';

/**
 * Makes a typed client of one module. Nothing is sent before the first call.
 *
 * @throws PolicyError or SealwireError `bad_configuration` or `bad_key` with a sentence that says what to change
 * @example
 * import type { PaymentsController } from './payments.controller.js';
 *
 * const payments = createRemote<RemoteApi<PaymentsController>>({
 *   url: 'https://api.example.com/remote/payments',
 *   serverKey: process.env.SEALWIRE_SERVER_PUBLIC_KEY ?? '',
 * });
 * const balance = await payments.balance('alice');
 */
export function createRemote<Api>(options: RemoteOptions<Api>): Remote<Api> {
  return openRemote<Api>(options, { primitives: nodePrimitives, transport: httpTransport }, openCaller);
}

/** SHA-256 of bytes, for packages that build on this one. */
export const ɵsha256 = (bytes: Uint8Array): Uint8Array => nodePrimitives.sha256(bytes);
