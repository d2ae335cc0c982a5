import type { ClientFinished, Secret, ServerOptions, SessionTerms } from '@sealwire/core';
import type { Settings } from '../options.js';
import { type Moment, newEpoch, now, type Session } from './session.js';

export interface Epoch {
  readonly index: number;
  readonly clientToServer: Secret;
  readonly serverToClient: Secret;
  readonly since: Moment;
  calls: number;
  bytes: number;
  /** frames whose results are still to be opened */
  open: number;
  /** The server opens this epoch and the next one: going two ahead of it would lock the client out. */
  confirmed: boolean;
}

/** What goes on with a session: on this page, or on one that comes after it. */
export interface SessionState {
  readonly sessionId: Uint8Array;
  readonly renewal: Secret;
  readonly options: Pick<ServerOptions, 'maxBody' | 'maxUpload' | 'pulse'>;
  readonly roundTripMs: number;
  readonly began: Moment;
  lastOpened: Moment;
  /** its lane and incarnation are the server's present ones */
  terms: SessionTerms;
  /** the last number that was taken, and the highest one in the lane of which an answer opened */
  counter: number;
  accepted: number;
  epoch: Epoch;
}

/** The session that a handshake made. */
export function stateOf(
  { sessionId, terms }: ClientFinished,
  { clientToServer, serverToClient, renewal }: Secrets,
  options: ServerOptions,
  roundTripMs: number,
): SessionState {
  const epoch = newEpoch(0, clientToServer, serverToClient, true);
  const began = now();
  return { sessionId, renewal, options, roundTripMs, began, lastOpened: began, terms, counter: 0, accepted: -1, epoch };
}

export type Secrets = { readonly [K in keyof ClientFinished['secrets']]: Secret };

/** Keeps a session for a later page. */
export interface Keeping {
  /** What that page needs has changed, or the numbers that are set aside run short. */
  changed(): void;
  /** A result opened. */
  heard(): void;
}

/** Where the sessions of one remote are kept. Nothing of it throws, or rejects. */
export interface Keeper {
  /** The session that an earlier page left, if no other page has it: its next numbers are this page's alone. */
  restore(): Promise<SessionState | undefined>;
  /** Takes the secrets of a new session over, so that they can be kept; their bytes are erased. */
  hold(secrets: ClientFinished['secrets']): Secrets;
  /** Keeps this session from now on, and no other. */
  keep(session: Session): void;
  /** The session has ended. */
  drop(): void;
  /** Deletes what is kept for the module. */
  close(): void;
}

/** Keeps sessions over reloads of a page: made by `sessionPersistence()` of `@sealwire/client/persistence`. */
export interface SessionPersistence {
  /** @internal undefined if the platform cannot keep sessions */
  ɵopen(settings: Settings): Promise<Keeper | undefined>;
  /** @internal deletes what is kept for a module */
  ɵforget(settings: Pick<Settings, 'url' | 'modulePath'>): void;
}
