import { type KeySize, ownOptions, SealwireError, type SessionSecrets } from '@sealwire/core';

/**
 * Why a session ended: its lifetime, its idle time, an operator, a newer session of its client, its SecureKey, or more sessions
 * than its module or SecureKey may have (the longest unused one ends then).
 */
export type CloseReason = 'expired' | 'idle' | 'revoked' | 'renewed' | 'secure_key_revoked' | 'evicted';

/** The first calls inside a step 3: numbers 0 to `count` - 1 of lane 0, all of one frame. */
export interface FirstCalls {
  /** of the step-3 frame, 16 bytes */
  readonly digest: Uint8Array;
  /** how many messages, 1 to 256 */
  readonly count: number;
}

/** A session as step 3 makes it, still without traffic secrets. */
export interface NewSession {
  /** 16 bytes */
  readonly id: Uint8Array;
  readonly module: string;
  /** 8 bytes; undefined if no SecureKey was used */
  readonly keyId: Uint8Array | undefined;
  readonly keySize: KeySize;
  /** K_first: proves the session until its first frame opened, 32 bytes */
  readonly firstKey: Uint8Array;
  readonly idleSeconds: number;
  readonly lifetimeSeconds: number;
  /** address the session is locked to */
  readonly peer: string | undefined;
  /** undefined if step 3 carried none */
  readonly firstCalls: FirstCalls | undefined;
  /** Ids of the sessions that `renew` ended for the same step 3, oldest first: their application data moves to this one. */
  readonly previous: readonly Uint8Array[];
}

/** How many live sessions a module, and one SecureKey in it, may have. */
export interface SessionLimits {
  readonly module: number;
  readonly secureKey: number;
}

/** A lane in which nothing is accepted any more, of the incarnation that is now. */
export interface ClosedLane {
  readonly lane: number;
  /** of `ReplayWindow`: a number that is not in it never ran */
  readonly window: Uint8Array;
  /** every number in it is answered; else one of them may still run, or was cut off in the middle */
  readonly answered: boolean;
}

/** The part of a session that a ledger looks at. */
export interface LedgerSession {
  /** 16 bytes */
  readonly id: Uint8Array;
  /** the id in hexadecimal, for maps */
  readonly key: string;
  readonly lane: number;
  /** of this lane: calls of lanes before it may have run in another state of the database */
  readonly incarnation: Uint8Array;
  /** the last lanes before this one, at most 4, newest first; also this one if it was closed since */
  readonly closed: readonly ClosedLane[];
  readonly firstCalls: FirstCalls | undefined;
}

/** A session as its store keeps it, with its keys in clear. */
export interface StoredSession extends LedgerSession {
  readonly module: string;
  readonly keyId: Uint8Array | undefined;
  readonly keySize: KeySize;
  readonly epoch: number;
  readonly secrets: SessionSecrets;
  readonly idleSeconds: number;
  /** milliseconds since 1970, of the last accepted call */
  readonly lastUsed: number;
  /** milliseconds since 1970: the end in any case */
  readonly expires: number;
  readonly peer: string | undefined;
  /** set if it ended less than 60 seconds ago: it takes no number, and still answers for those that it took */
  readonly ended: CloseReason | undefined;
}

/** Which sessions: all, one by its id, or those of a SecureKey or a module. */
export type SessionSelector =
  | { readonly all: true }
  | { readonly id: Uint8Array }
  | { readonly keyId: Uint8Array }
  | { readonly module: string };

/**
 * The one choice of a selector, without a prototype: none is there because something put it on `Object.prototype`.
 *
 * @returns an object that has one of the four names, so that `in` tells which
 * @throws SealwireError `bad_configuration` for none or several of them: what was to end one session would end all
 * @example
 * import { ownSelector, type SessionSelector } from '@sealwire/nest/ports';
 *
 * export function isForAll(selector: SessionSelector): boolean {
 *   return 'all' in ownSelector(selector);
 * }
 */
export function ownSelector(selector: SessionSelector): SessionSelector {
  const own = ownOptions(selector, ['all', 'id', 'keyId', 'module']);
  if (Object.keys(own).length === 1) return own;
  throw new SealwireError('bad_configuration', 'A selector of sessions has one of `all`, `id`, `keyId` and `module`.');
}

/** A session as operators see it, without keys. */
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
