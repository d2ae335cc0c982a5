import type { ClientFinished, Secret, ServerOptions, SessionTerms } from '@sealwire/core';
import type { Settings } from '../options.js';
import type { Moment, Session } from './session.js';

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

type Secrets = { readonly [K in keyof ClientFinished['secrets']]: Secret };

/** Where the sessions of one remote are kept. Nothing of it throws. */
export interface Keeper {
  /** Takes the secrets of a new session over, so that they can be kept; their bytes are erased. */
  hold(secrets: ClientFinished['secrets']): Secrets;
  /** Keeps this session from now on, and no other. */
  keep(session: Session): void;
  /** The session has ended. */
  drop(): void;
  /** Deletes what is kept for the module. */
  close(): void;
}

export interface Found {
  readonly keeper: Keeper;
  /** the session that an earlier page left, if no other page has it: its next numbers are this page's alone */
  readonly left: SessionState | undefined;
}

/** Keeps sessions over reloads of a page: made by `sessionPersistence()` of `@sealwire/client/persistence`. */
export interface SessionPersistence {
  /** @internal undefined if the platform cannot keep sessions; never rejects */
  ɵfind(settings: Settings): Promise<Found | undefined>;
  /** @internal deletes what is kept for a module */
  ɵforget(settings: Pick<Settings, 'url' | 'modulePath'>): void;
}
