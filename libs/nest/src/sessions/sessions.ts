import { Inject, Injectable, Logger } from '@nestjs/common';
import { erase, hedgedRandom, type Primitives, SealwireError, toHex } from '@sealwire/core';
import { SealwireEvents } from '../admin/events.js';
import type { ResolvedOptions } from '../options.js';
import {
  type CloseReason,
  NumberLedger,
  SessionDirectory,
  SessionStore,
  type SessionStoreListener,
  type StoredSession,
} from '../ports/index.js';
import type { Stoppable } from '../streams/flights.js';
import { SessionStreams } from '../streams/flights.js';
import { withinTime } from '../time-limit.js';
import { PRIMITIVES, RESOLVED_OPTIONS } from '../tokens.js';
import { LookUps } from './limits.js';
import { Session, type SessionRow, type SessionSuite } from './session.js';

/** How long an ended session answers for its numbers at least. */
const ENDED_MS = 60_000;
/** How long a stopping process waits for calls that run. */
const STOP_MS = 10_000;

/** The sessions of this process: it finds and takes them up, gives them back, and ends them. */
@Injectable()
export class Sessions implements SessionStoreListener {
  private readonly logger = new Logger('Sealwire');
  readonly #opening = new Set<Promise<unknown>>();
  /** live ones whose lane is this process's, least recently used first */
  readonly #hot = new Map<string, Session>();
  /** those that ended, while they answer */
  readonly #ended = new Map<string, Session>();
  readonly #taking = new Map<string, Promise<Session>>();
  readonly #releasing = new Map<string, Promise<void>>();
  readonly #streams = new SessionStreams();
  readonly #lookUps: LookUps;
  readonly #suite: SessionSuite;
  #stopping = false;

  constructor(
    @Inject(PRIMITIVES) primitives: Primitives,
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(SessionStore) private readonly store: SessionStore,
    @Inject(SessionDirectory) private readonly directory: SessionDirectory,
    @Inject(NumberLedger) private readonly ledger: NumberLedger,
    @Inject(SealwireEvents) private readonly events: SealwireEvents,
  ) {
    this.#suite = { primitives, random: hedgedRandom(primitives) };
    this.#lookUps = new LookUps((id) => this.#find(id));
  }

  get size(): number {
    return this.#hot.size;
  }

  /** Whether numbers may be accepted now: not while stopping, not in lanes that another instance may have taken over. */
  get accepting(): boolean {
    return !this.#stopping && (!this.ledger.exclusive || this.store.leaseHolds());
  }

  make(row: SessionRow): Session {
    return new Session(this.#suite, row);
  }

  /** One that this process has, live or ended. */
  held(id: Uint8Array): Session | undefined {
    const asked = toHex(id);
    const session = this.#hot.get(asked);
    if (!session) return this.#ended.get(asked);
    // one text for all that keep it
    const { key } = session;
    this.#hot.delete(key);
    this.#hot.set(key, session);
    return session;
  }

  /** A copy of what the store has, to open a frame with; nothing is taken. @throws SealwireError `session_unknown`, `busy` */
  async look(id: Uint8Array): Promise<Session> {
    const session = await this.#lookUps.get(toHex(id), id);
    if (!session) throw new SealwireError('session_unknown');
    return session;
  }

  /** Takes up a session of which a frame opened under `copy`. @throws SealwireError `session_unknown`, `busy` */
  take(copy: Session): Promise<Session> {
    const { key } = copy;
    const hot = this.#hot.get(key);
    if (hot && hot.since > copy.since) return Promise.resolve(hot);
    const taking = this.#taking.get(key) ?? this.#takeOnce(copy).finally(() => this.#taking.delete(key));
    this.#taking.set(key, taking);
    return taking;
  }

  /** One that a handshake made here, or that ended elsewhere and still answers. */
  add(session: Session): void {
    const { key } = session;
    this.#lookUps.forget(key, session.ended !== undefined);
    if (session.ended) {
      this.#ended.set(key, session);
      this.#forgetLater(session);
      return;
    }
    const before = this.#hot.get(key);
    if (before) this.discard(before);
    this.#hot.set(key, session);
    if (this.#hot.size > this.options.hotSessions) this.#evict(session);
  }

  /** Forgets what is cached of a session; the next frame finds it again. */
  discard(session: Session): void {
    if (session.ended) return;
    if (this.#hot.get(session.key) === session) this.#hot.delete(session.key);
    this.#lookUps.forget(session.key);
    this.ledger.close(session);
    session.release();
  }

  /** The first frame of the next epoch opened: the store steps on, then memory. Lost races leave a released session. */
  advance(session: Session, next: { epoch: number; clientToServer: Uint8Array; serverToClient: Uint8Array }) {
    session.advancing ??= this.#advanceOnce(session, next).finally(() => {
      session.advancing = undefined;
    });
    return session.advancing;
  }

  /** What ends with the session, wherever its lane is by then. Answers how to take it out again. */
  addStream(session: Session, stream: Stoppable): () => void {
    const { key, heir, ended } = session;
    if (heir) return this.addStream(heir, stream);
    const left = session.expires - this.store.now();
    const remove = this.#streams.add(key, left, stream, () => this.expire(session, 'expired'));
    if (ended) this.#endStreams(key, ended);
    // its end is not told to who has given it back
    else if (session.released) void this.#endIfEnded(session, stream);
    if (this.#stopping) stream.stop('busy');
    return remove;
  }

  async #endIfEnded({ key, id }: Session, stream: Stoppable): Promise<void> {
    try {
      const copy = await this.#find(id);
      copy?.erase();
      if (!copy || copy.ended) this.#endStreams(key, copy?.ended ?? 'expired');
    } catch {
      stream.stop('busy');
    }
  }

  /** The streams of a session that its client renewed go on, also those of its calls that still run, and end with the next one. */
  inherit(old: Uint8Array, session: Session): void {
    const key = toHex(old);
    const before = this.#ended.get(key);
    if (before) before.heir = session;
    this.#streams.inherit(key, (stream) => this.addStream(session, stream));
  }

  #endStreams(key: string, reason: CloseReason): void {
    if (reason === 'renewed') this.#streams.renewed(key);
    else this.#streams.end(key);
  }

  /** Ends a session by this process's own judgement. */
  expire(session: Session, reason: CloseReason): void {
    this.directory
      .end({ id: session.id }, reason)
      .catch((error) => this.logger.warn(`Could not end a session: ${error}`));
    this.ended(session.id, reason, session.module);
  }

  async release(id: Uint8Array): Promise<void> {
    const key = toHex(id);
    const session = this.#hot.get(key);
    if (!session) return this.#releasing.get(key);
    this.#hot.delete(key);
    this.#lookUps.forget(key);
    session.release();
    const work = this.#giveBack(session).finally(() => this.#releasing.delete(key));
    this.#releasing.set(key, work);
    return work;
  }

  /** @returns whether its frames are still answered here */
  ended(id: Uint8Array, reason: CloseReason, module: string | undefined): boolean {
    const key = toHex(id);
    this.#lookUps.forget(key);
    const session = this.#hot.get(key);
    if (!session) {
      this.#endStreams(key, reason);
      const held = this.#ended.has(key);
      if (module !== undefined && !held) this.events.emit('closed', { sessionId: key, module, reason });
      return held;
    }
    this.#hot.delete(key);
    session.end(reason);
    this.#endStreams(key, reason);
    this.add(session);
    this.events.emit('closed', { sessionId: key, module: session.module, reason });
    this.#closeEnded(session).catch((error) => this.logger.warn(`Could not close a lane: ${error}`));
    return true;
  }

  /** An end that was told meanwhile may have been missed, so streams end too. */
  incarnationChanged(): void {
    this.#streams.endAll();
    for (const session of [...this.#hot.values()]) this.discard(session);
    this.ledger.forget();
  }

  /** A handshake that makes a session, whose first calls run: a server that stops waits for it. */
  async opening<T>(work: Promise<T>): Promise<T> {
    this.#opening.add(work);
    try {
      return await work;
    } finally {
      this.#opening.delete(work);
    }
  }

  /** Takes no more calls, lets those that run finish, gives every lane back. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#streams.stop();
    const all = Promise.allSettled(this.#opening).then(() =>
      Promise.allSettled([...this.#hot.values()].map((session) => this.release(session.id))),
    );
    const ends = await withinTime(all, STOP_MS).catch(() => undefined);
    if (!ends) this.logger.warn('Stopped while calls were running.');
    const failed = ends?.find((end) => end.status === 'rejected');
    if (failed) this.logger.warn(`The store did not take sessions back: ${failed.reason}`);
  }

  async #find(id: Uint8Array): Promise<Session | undefined> {
    const row = await withinTime(this.store.find(id), this.options.storeTimeout, eraseSecrets);
    return row && this.make(row);
  }

  async #takeOnce({ key, id }: Session): Promise<Session> {
    const { storeTimeout } = this.options;
    await withinTime(Promise.resolve(this.#releasing.get(key)), storeTimeout);
    if (!this.accepting) throw new SealwireError('busy');
    const row = await withinTime(this.store.takeLane(id, this.ledger.exclusive), storeTimeout, eraseSecrets);
    if (row === 'busy') throw new SealwireError('busy');
    if (!row) {
      this.#lookUps.forget(key);
      throw new SealwireError('session_unknown');
    }
    const session = this.make(row);
    this.add(session);
    this.events.emit('resumed', { sessionId: key, module: row.module });
    return session;
  }

  async #advanceOnce(session: Session, next: Parameters<Sessions['advance']>[1]): Promise<void> {
    const stored = this.store.advanceEpoch(session.id, next.epoch, next);
    if (await withinTime(stored, this.options.storeTimeout)) session.advance(next.epoch);
    else this.discard(session);
  }

  async #giveBack(session: Session): Promise<void> {
    await session.idle();
    await this.ledger.drain();
    const window = this.ledger.close(session);
    if (window) await this.store.closeLane(session.id, session.lane, window, true);
  }

  /** The record of accepted numbers is complete at once, whatever still runs: of all others the client learns that they never ran. */
  async #closeEnded(session: Session): Promise<void> {
    const { id, lane, working } = session;
    const window = this.ledger.close(session);
    if (!window) return;
    await this.store.closeLane(id, lane, window, !working);
    if (!working) return;
    await session.idle();
    await this.store.closeLane(id, lane, window, true);
  }

  /**
   * The longest unused session that runs nothing gives its place, not to itself. If all others have calls or streams, there are more
   * than the option says, as many as have connections.
   */
  #evict(added: Session): void {
    for (const session of this.#hot.values()) {
      if (session.busy || session === added) continue;
      this.release(session.id).catch((error) => this.logger.warn(`Could not close a lane: ${error}`));
      return;
    }
  }

  /** Not while its calls run: their results are sealed with its keys. */
  #forgetLater(session: Session): void {
    setTimeout(() => {
      if (session.busy) return this.#forgetLater(session);
      this.#ended.delete(session.key);
      session.erase();
      this.ledger.erase(session);
    }, ENDED_MS).unref();
  }
}

function eraseSecrets(row: StoredSession | 'busy' | undefined): void {
  if (typeof row === 'object') erase(row.secrets.clientToServer, row.secrets.serverToClient, row.secrets.renewal);
}
