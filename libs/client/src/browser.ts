import { noblePrimitives } from '@sealwire/core/noble';
import type { RemoteOptions } from './options.js';
import { openRemote, type Remote } from './remote.js';

export * from './common.js';

/** As in `node.ts`, for browsers and every other runtime without node:crypto. */
export function createRemote<Api>(options: RemoteOptions): Remote<Api> {
  return openRemote<Api>(options, noblePrimitives);
}
