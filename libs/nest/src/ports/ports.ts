import type { CallNumber, KeyPair, KeySize, Renewal, RenewalAnswer, SessionSecrets } from '@sealwire/core';

/**
 * What the server needs of whatever keeps its sessions. Every verb is atomic; times are the store's clock (the database's,
 * where there is one) in milliseconds since 1970. Secrets cross this port in clear: a store that writes them down wraps them.
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

  /**
   * Step 3: inserts the session, still without traffic secrets, in the lane that this process owns.
   * Undefined where the id exists or has ended: the cookie was used before.
   */
  abstract create(
    session: NewSession,
  ): Promise<{ readonly lane: number; readonly incarnation: Uint8Array } | undefined>;
  /** Step 4: adds the traffic secrets. False where the session ended meanwhile. */
  abstract activate(id: Uint8Array, secrets: SessionSecrets): Promise<boolean>;
  /**
   * Finds a session for its first call in this process.
   * `exclusive` (ledger in memory): opens the next lane for this process, which needs the previous owner's lease to
   * have ended or the owner to have closed the lane; else `busy`, and the owner is asked to close it.
   * Not exclusive (shared ledger): joins the current lane; a new one is opened only where the incarnation changed.
   */
  abstract attach(id: Uint8Array, exclusive: boolean): Promise<AttachedSession | 'busy' | undefined>;
  /**
   * Nothing is accepted in this lane any more; `window` is what was, so that the rest provably never ran. `answered`: so is all
   * of it, and the lane is given up. Until then a number in the window may still be running.
   */
  abstract closeLane(id: Uint8Array, lane: number, window: Uint8Array, answered: boolean): Promise<void>;
  /** Compare-and-swap on the epoch: stores the secrets of `epoch` where the row still has `epoch - 1`. */
  abstract advanceEpoch(
    id: Uint8Array,
    epoch: number,
    secrets: Pick<SessionSecrets, 'clientToServer' | 'serverToClient'>,
  ): Promise<boolean>;
  /** Notes a call just accepted; buffered and written in batches, never awaited. */
  abstract touch(id: Uint8Array): void;
  /**
   * A client claims in step 3 that `renewal.sessionId` was its own. `verify` is given the row's renewal key and, where that
   * does not prove it, its first key, which entitles to FIRST_CALLS only (step 4 never arrived). One transaction: ends the old
   * session as `renewed`, then answers per number from what is durable; ended before, its tombstone still answers. Unknown
   * session, wrong proof, other incarnation: all `unknown`. `never_ran` only where a durable record of every accepted number
   * exists and the old lane's owner can accept no more, or the number went to a frame of another digest. FIRST_CALLS count as
   * `ran` wherever the row was created: the row is their record, no ledger is asked to accept them.
   */
  abstract reconcile(renewal: Renewal, verify: (key: Uint8Array) => boolean): Promise<RenewalAnswer[]>;

  /** Ends sessions and leaves a tombstone for each; answers how many. */
  abstract end(selector: SessionSelector, reason: CloseReason): Promise<number>;
  abstract list(
    filter: SessionSelector,
    page: { readonly limit: number; readonly after?: string },
  ): Promise<SessionSummary[]>;
  abstract count(filter: SessionSelector): Promise<number>;
  /** Deletes expired sessions, old tombstones, accepted numbers out of every window, and old outcomes. Answers rows deleted. */
  abstract purge(): Promise<number>;

  /**
   * Application data of a session and its version, which counts up with each write.
   * @param transaction of an exactlyOnce function, as {@link ExactlyOnce} hands it out: the data is read and written in it
   */
  abstract readData(
    id: Uint8Array,
    transaction?: unknown,
  ): Promise<{ readonly data: Record<string, unknown>; readonly version: number } | undefined>;
  /** False where `version` is not the row's any more. */
  abstract writeData(
    id: Uint8Array,
    data: Record<string, unknown>,
    version: number,
    transaction?: unknown,
  ): Promise<boolean>;
}

/** What a store tells the process that owns lanes. */
export interface SessionStoreListener {
  /** Another process wants this session, or this one is stopping: finish what runs, then `closeLane`. */
  release(id: Uint8Array): Promise<void>;
  /** A session ended, here or elsewhere, also one that this process never had; `module` where it is still known. */
  ended(id: Uint8Array, reason: CloseReason, module: string | undefined): void;
  /** The database is another one now (restored): nothing cached holds any more. */
  incarnationChanged(): void;
}

export type CloseReason = 'expired' | 'idle' | 'revoked' | 'renewed' | 'secure_key_revoked';

export interface NewSession {
  readonly id: Uint8Array;
  readonly module: string;
  /** 8 bytes; undefined where no SecureKey was used */
  readonly keyId: Uint8Array | undefined;
  readonly keySize: KeySize;
  /** identifies and proves the session until it is activated, 32 bytes */
  readonly firstKey: Uint8Array;
  readonly idleSeconds: number;
  readonly lifetimeSeconds: number;
  /** address the session is locked to */
  readonly peer: string | undefined;
}

export interface AttachedSession {
  readonly id: Uint8Array;
  readonly module: string;
  readonly keyId: Uint8Array | undefined;
  readonly keySize: KeySize;
  readonly epoch: number;
  readonly secrets: SessionSecrets;
  readonly firstKey: Uint8Array;
  readonly lane: number;
  /** of this lane: calls of lanes before it may have run in another state of the database */
  readonly incarnation: Uint8Array;
  /** the lane before this one, where it was closed cleanly in the same incarnation */
  readonly closed: { readonly lane: number; readonly window: Uint8Array } | undefined;
  readonly idleSeconds: number;
  readonly lastUsed: number;
  /** final expiry */
  readonly expires: number;
  readonly peer: string | undefined;
}

export type SessionSelector =
  | { readonly all: true }
  | { readonly id: Uint8Array }
  | { readonly keyId: Uint8Array }
  | { readonly module: string };

export interface SessionSummary {
  /** hexadecimal */
  readonly id: string;
  readonly module: string;
  readonly keyId: string | undefined;
  readonly lane: number;
  readonly epoch: number;
  readonly created: Date;
  readonly lastUsed: Date;
  readonly expires: Date;
  readonly peer: string | undefined;
}

/** What became of a call number that a frame asks to run. */
export type Acceptance =
  | { readonly kind: 'accepted' }
  /** the same frame is running: here (then `settled` is its reply) or on another instance */
  | { readonly kind: 'running'; readonly settled?: Promise<Uint8Array> }
  /** the same frame ran; `reply` is its encoded payload while that is kept */
  | { readonly kind: 'done'; readonly reply: Uint8Array | undefined }
  | { readonly kind: 'conflict' | 'too_old' | 'outcome_unknown' | 'session_ended' | 'busy' }
  /** not this lane; the caller attaches the session again and answers with what is known of the old one */
  | { readonly kind: 'lane_moved' };

/**
 * Sees to it that a number runs once. Asked after the frame opened, before its calls run. A ledger of one process answers
 * synchronously; a shared one asks its database, many numbers in one statement.
 */
export abstract class NumberLedger {
  /** whether a session belongs to the process that opened its lane */
  abstract readonly exclusive: boolean;
  /**
   * `accepted` once, to the caller that then has the calls run; that it did is remembered for all others.
   * @param milliseconds a ledger that answers later throws `busy`, and accepts the number from whoever asks next
   */
  abstract accept(
    session: LedgerSession,
    number: CallNumber,
    digest: Uint8Array,
    milliseconds: number,
  ): Acceptance | Promise<Acceptance>;
  /** The number ran; `reply` is its encoded payload. Never awaited by the call itself. Told of FIRST_CALLS too. */
  abstract finish(session: LedgerSession, number: CallNumber, digest: Uint8Array, reply: Uint8Array): void;
  /** What is known of a number of an earlier lane or an ended session. */
  abstract recall(session: LedgerSession, number: CallNumber, digest: Uint8Array): Promise<RenewalAnswer>;
  /** Waits until everything that was told to `finish` before is written. */
  abstract drain(): Promise<void>;
  /** Forgets the lane of a session and hands out its window for `closeLane`; undefined where the record is shared. */
  close(_session: LedgerSession): Uint8Array | undefined {
    return undefined;
  }
  /** The database is another one now: results remembered here are of calls that it may not know. */
  forget(): void {}
}

/** The part of a live session that a ledger looks at. */
export interface LedgerSession {
  readonly id: Uint8Array;
  /** hexadecimal id, for maps */
  readonly key: string;
  readonly lane: number;
  readonly incarnation: Uint8Array;
  readonly closed: AttachedSession['closed'];
}

/** Keys that a server keeps for itself and shares between its instances. Cookie keys are cached by the store itself. */
export abstract class KeyStore {
  /** Newest first; creates the first pair where there is none and none was configured. Old ones until their time has come. */
  abstract serverKeys(): Promise<readonly KeyPair[]>;
  /** The 32 secret bytes of a SecureKey of that module that is kept in the store and valid now. */
  abstract secureKey(module: string, keyId: Uint8Array): Promise<Uint8Array | undefined>;
  /** Refuses a SecureKey from now on. False where the store does not hold it: one that was configured has to go from there. */
  async revokeSecureKey(_keyId: Uint8Array): Promise<boolean> {
    return false;
  }
  /** The cookie key to seal with; a new one every 5 minutes. `random` is TK, 32 bytes. */
  abstract currentCookieKey(): Promise<{ readonly id: Uint8Array; readonly random: Uint8Array }>;
  /** A cookie key that may still open: issued at most 6 minutes ago. */
  abstract cookieKey(id: Uint8Array): Promise<{ readonly id: Uint8Array; readonly random: Uint8Array } | undefined>;
}

/**
 * Runs a call in a transaction with its outcome, under the call's identity, so that it happens exactly once however often
 * it is sent. Only a store with transactions offers it.
 */
export abstract class ExactlyOnce {
  /**
   * @param run gets the transaction's handle (an EntityManager with TypeORM) and answers the encoded outcome; what it throws
   *   rolls everything back and stores nothing; after a deadlock or a failed serialization it is run again
   * @returns the encoded outcome, the stored one where the identity already has it
   * @throws SealwireError `outcome_unknown` where `claimed` is another incarnation, `busy` where the transaction may not have
   *   been committed
   */
  abstract run(
    call: {
      readonly module: string;
      readonly keyId: Uint8Array | undefined;
      readonly callId: Uint8Array;
      readonly claimed: Uint8Array | undefined;
    },
    run: (transaction: unknown) => Promise<{ readonly outcome: Uint8Array; readonly rollback: boolean }>,
  ): Promise<Uint8Array>;
}
