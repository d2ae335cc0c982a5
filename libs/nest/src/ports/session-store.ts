import type { SessionSecrets } from '@sealwire/core';
import type { CloseReason, LedgerSession, NewSession, SessionLimits, StoredSession } from './session-types.js';

/**
 * The life of sessions. Every verb is atomic. Times are the store's clock (the database's, if there is one) in milliseconds
 * since 1970. Secrets cross this port in clear: a store that writes them down wraps them.
 *
 * @example
 * import type { SealwireStore } from '@sealwire/nest';
 * import { KeyStore, SessionData, SessionDirectory, SessionStore } from '@sealwire/nest/ports';
 *
 * // `SealwireModule.forRoot({ store })` takes a provider for each port.
 * export const myStore = (): SealwireStore => ({
 *   providers: [SessionStore, SessionDirectory, SessionData, KeyStore].map((port) => ({
 *     provide: port,
 *     useExisting: `my ${port.name}`,
 *   })),
 * });
 */
export abstract class SessionStore {
  /** Takes up this process's instance row and begins to renew its lease. Called once, before anything else. */
  abstract start(listener: SessionStoreListener): Promise<void>;
  /** Writes out what is buffered, gives up the lease. Lanes were closed before. */
  abstract stop(): Promise<void>;
  /** Whether this process may still accept numbers in its lanes; by the monotonic clock, synchronous, cheap. */
  abstract leaseHolds(): boolean;
  /** The store's clock now. A local estimate from the last statement is good enough within a second. */
  abstract now(): number;
  /** Identifies this state of the database; another value after a restore (PROTOCOL.md section 4.3). 8 bytes. */
  abstract incarnation(): Uint8Array;
  /** Milliseconds since this store began to remember sessions, 0 if they outlive the process. Clients are told under seal. */
  abstract age(): number;
  /** 32 bytes, the same at every instance: session ids carry a MAC under it, so made-up ids cost no look-up. */
  abstract sessionIdKey(): Uint8Array;

  /**
   * Step 3, in one transaction: inserts the session, still without traffic secrets, in the lane that this process owns; writes
   * its first calls down as running numbers; moves the application data of the `previous` sessions that ended as `renewed` to
   * it (of a name that several have, the last one's value). Then, while its module or SecureKey has more live sessions than
   * `limits`, the longest unused one ends as `evicted`, never this one.
   * Undefined, and nothing happened, if the id exists or has ended: the cookie was used before.
   */
  abstract create(
    session: NewSession,
    limits: SessionLimits,
  ): Promise<{ readonly lane: number; readonly incarnation: Uint8Array } | undefined>;
  /** Step 4: adds the traffic secrets. False if the session ended meanwhile. */
  abstract activate(id: Uint8Array, secrets: SessionSecrets): Promise<boolean>;
  /**
   * One cheap statement, which takes no lane and asks nobody: anybody can send a session id. Undefined if there is no such
   * session, it has no traffic secrets yet, or its end (by whatever reason, its time being over too) is 60 seconds ago.
   */
  abstract find(id: Uint8Array): Promise<StoredSession | undefined>;
  /**
   * Takes the session up for a frame that opened under the keys of `find`.
   * `exclusive` (ledger in memory): opens the next lane for this process, which needs the previous owner's lease to have ended
   * or the owner to have closed the lane; else `busy`, and the owner is asked to close it.
   * Not exclusive (shared ledger): joins the current lane; a new one is opened only if the incarnation changed.
   * Undefined if the session is not live (any more).
   */
  abstract takeLane(id: Uint8Array, exclusive: boolean): Promise<StoredSession | 'busy' | undefined>;
  /**
   * Nothing is accepted in this lane any more; `window` is what was, so that the rest provably never ran. `answered`: so is all
   * of it, first calls too, and the lane is given up. Until then a number in the window may still be running.
   */
  abstract closeLane(id: Uint8Array, lane: number, window: Uint8Array, answered: boolean): Promise<void>;
  /** Compare-and-swap on the epoch: stores the secrets of `epoch` if the row still has `epoch - 1`. */
  abstract advanceEpoch(
    id: Uint8Array,
    epoch: number,
    secrets: Pick<SessionSecrets, 'clientToServer' | 'serverToClient'>,
  ): Promise<boolean>;
  /**
   * Notes a call just accepted; buffered and written in batches, never awaited.
   * @param proved a frame of the session opened here for the first time: K_first is over and is erased with the same write
   */
  abstract touch(id: Uint8Array, proved: boolean): void;
  /**
   * Step 3 names `id` as its client's own, old session. `verify` is given the row's renewal key and, if that does not prove
   * it, the row's K_first if that is kept. Only a session of the same module and keyId counts. The store ends it as `renewed` if it
   * is live; one that ended before still answers while its tombstone is kept. The caller then asks the ledger about its numbers.
   */
  abstract renew(
    id: Uint8Array,
    scope: { readonly module: string; readonly keyId: Uint8Array | undefined },
    verify: (key: Uint8Array) => boolean,
  ): Promise<RenewedSession | undefined>;
}

/** An old session whose client proved it. */
export interface RenewedSession {
  /** as it is after its end */
  readonly session: LedgerSession;
  /** the key that proved it */
  readonly key: Uint8Array;
  /** K_first proved it: it speaks for first calls only */
  readonly first: boolean;
}

/** By this a store tells the process that owns lanes. */
export interface SessionStoreListener {
  /** Another process wants this session, or this one is stopping: finish what runs, then `closeLane`. */
  release(id: Uint8Array): Promise<void>;
  /** A session ended, here or elsewhere, also one that this process never had; `module` if it is still known. */
  ended(id: Uint8Array, reason: CloseReason, module: string | undefined): void;
  /** The database is another one now (restored): nothing cached holds any more. */
  incarnationChanged(): void;
}
