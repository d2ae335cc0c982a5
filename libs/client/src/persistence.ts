import { knownOptions, lazy } from '@sealwire/core/calls';
import { badConfiguration } from './errors.js';
import type { SessionPersistence } from './sessions/state.js';

export type { SessionPersistence } from './sessions/state.js';

/** Options of {@link sessionPersistence}. */
export interface SessionPersistenceOptions {
  /** pages of one module that find a session again, each with its own: 1 to 64 (default 8) */
  readonly slots?: number;
}

const kept = lazy(
  () => import('./sessions/kept.js'),
  ({ find }) => find,
);
const forgetful = lazy(
  () => import('./sessions/records.js'),
  ({ forgetModule }) => forgetModule,
);

/**
 * Keeps sessions over reloads of a page, for the option `persistence` of `createRemote`: the first call after a reload needs no
 * handshake. The keys of the current epoch are kept in IndexedDB of the page's origin as keys of WebCrypto that nobody can
 * export, one slot for each page that lives. Where IndexedDB, Web Locks or WebCrypto are missing, as on Node, it does nothing.
 *
 * A session is used again only with the same `url`, `modulePath`, `serverKey`, `secureKey` and `keySize`; `$close()` deletes it.
 * Calls of the page before are not sent again.
 *
 * @throws SealwireError `bad_configuration`
 * @example
 * import { createRemote } from '@sealwire/client';
 * import type { PaymentsController } from './payments.controller.js';
 *
 * const persistence = sessionPersistence({ slots: 4 });
 * const payments = createRemote<RemoteApi<PaymentsController>>({ url: '/remote/payments', serverKey: 'swp1...', persistence });
 */
export function sessionPersistence(options: SessionPersistenceOptions = {}): SessionPersistence {
  const { slots = 8 } = knownOptions(options, ['slots'], 'sessionPersistence');
  if (!Number.isInteger(slots) || slots < 1 || slots > 64) throw badConfiguration('slots must be 1 to 64.');
  return {
    ɵfind: (settings) => (async () => (await kept())(settings, slots))().catch(() => undefined),
    async ɵforget(settings) {
      // what cannot be reached now is deleted when its time is over
      await (async () => (await forgetful())(settings))().catch(() => {});
    },
  };
}
