import { Inject, Injectable, Logger } from '@nestjs/common';
import { type Primitives, SealwireError, toHex } from '@sealwire/core';
import { SealwireEvents } from '../admin/events.js';
import type { ResolvedOptions } from '../options.js';
import {
  type AttachedSession,
  type CloseReason,
  NumberLedger,
  SessionStore,
  type SessionStoreListener,
} from '../ports/ports.js';
import { withinTime } from '../time-limit.js';
import { PRIMITIVES, RESOLVED_OPTIONS } from '../tokens.js';
import { type EpochSecrets, LiveSession } from './session.js';

/** How long an ended session's keys are kept at least, so that its client is told under seal. */
const ENDED_MS = 60_000;
/** How long a stopping process waits for calls that run. */
const STOP_MS = 10_000;

/** The sessions in this process's memory. */
@Injectable()
export class SessionCache implements SessionStoreListener {
  private readonly logger = new Logger('Sealwire');
  /** least recently used first */
  private readonly hot = new Map<string, LiveSession>();
  private readonly gone = new Map<string, LiveSession>();
  private readonly attaching = new Map<string, Promise<LiveSession>>();
  private readonly releasing = new Map<string, Promise<void>>();
  /** what ended sessions accepted, being written */
  private readonly closing = new Map<string, Promise<void>>();
  private stopping = false;

  constructor(
    @Inject(PRIMITIVES) private readonly primitives: Primitives,
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(SessionStore) private readonly store: SessionStore,
    @Inject(NumberLedger) private readonly ledger: NumberLedger,
    @Inject(SealwireEvents) private readonly events: SealwireEvents,
  ) {}

  get size(): number {
    return this.hot.size;
  }

  /** Whether numbers may be accepted now: not while stopping, not in lanes that another instance may have taken over. */
  get accepting(): boolean {
    return !this.stopping && (!this.ledger.exclusive || this.store.leaseHolds());
  }

  /** From memory at once, else from the store. @throws SealwireError `session_unknown` or `busy` */
  find(id: Uint8Array): LiveSession | Promise<LiveSession> {
    const key = toHex(id);
    const session = this.hot.get(key);
    if (!session) return this.gone.get(key) ?? this.attach(key, id.slice());
    this.hot.delete(key);
    this.hot.set(key, session);
    return session;
  }

  /** Takes up a session that a handshake made here. */
  add(row: AttachedSession): LiveSession {
    const session = new LiveSession(this.primitives, row);
    this.hot.set(session.key, session);
    if (this.hot.size > this.options.hotSessions) this.evict();
    return session;
  }

  /** Forgets what is cached of a session; the next call attaches it again. */
  discard(session: LiveSession): void {
    if (this.hot.get(session.key) === session) this.hot.delete(session.key);
    session.released = true;
  }

  /** The first frame of the next epoch opened: the store steps on, then memory. Lost races leave a released session. */
  advance(session: LiveSession, next: EpochSecrets): Promise<void> {
    session.advancing ??= this.advanceOnce(session, next).finally(() => {
      session.advancing = undefined;
    });
    return session.advancing;
  }

  /** Ends a session by this process's own judgement. */
  expire(session: LiveSession, reason: CloseReason): void {
    this.store.end({ id: session.id }, reason).catch((error) => this.logger.warn(`Could not end a session: ${error}`));
    this.ended(session.id, reason, session.module);
  }

  /** Ends a session whose client proved, by `proves`, that it is its own; what it accepted is written down then. */
  async retire(id: Uint8Array, proves: (key: Uint8Array) => boolean): Promise<void> {
    const key = toHex(id);
    const session = this.hot.get(key);
    if (session && (proves(session.renewal) || proves(session.firstKey))) this.ended(id, 'renewed', session.module);
    const written = this.closing.get(key) ?? this.releasing.get(key);
    if (written) await withinTime(written, this.options.storeTimeout).catch(() => undefined);
  }

  async release(id: Uint8Array): Promise<void> {
    const key = toHex(id);
    const session = this.hot.get(key);
    if (!session) return this.releasing.get(key);
    this.discard(session);
    const work = this.closeLane(session).finally(() => this.releasing.delete(key));
    this.releasing.set(key, work);
    return work;
  }

  ended(id: Uint8Array, reason: CloseReason, module: string | undefined): void {
    const key = toHex(id);
    const session = this.hot.get(key);
    if (!session) {
      if (module !== undefined && !this.gone.has(key)) this.events.emit('closed', { sessionId: key, module, reason });
      return;
    }
    this.discard(session);
    this.bury(session, reason);
    this.closeEnded(session).catch((error) => this.logger.warn(`Could not close a lane: ${error}`));
  }

  incarnationChanged(): void {
    for (const session of [...this.hot.values()]) {
      this.discard(session);
      this.ledger.close(session);
    }
    this.ledger.forget();
  }

  /** Takes no more calls, lets those that run finish, gives every lane back. */
  async stop(): Promise<void> {
    this.stopping = true;
    const all = Promise.all([...this.hot.values()].map((session) => this.release(session.id)));
    await withinTime(all, STOP_MS).catch(() => this.logger.warn('Stopped while calls were running.'));
  }

  private attach(key: string, id: Uint8Array): Promise<LiveSession> {
    const attaching = this.attaching.get(key) ?? this.attachOnce(key, id).finally(() => this.attaching.delete(key));
    this.attaching.set(key, attaching);
    return attaching;
  }

  private async attachOnce(key: string, id: Uint8Array): Promise<LiveSession> {
    const { storeTimeout } = this.options;
    await withinTime(Promise.resolve(this.releasing.get(key)), storeTimeout);
    if (!this.accepting) throw new SealwireError('busy');
    const row = await withinTime(this.store.attach(id, this.ledger.exclusive), storeTimeout);
    if (row === 'busy') throw new SealwireError('busy');
    if (!row) throw new SealwireError('session_unknown');
    const session = this.add(row);
    this.events.emit('resumed', { sessionId: key, module: row.module });
    return session;
  }

  private async advanceOnce(session: LiveSession, next: EpochSecrets): Promise<void> {
    const stored = this.store.advanceEpoch(session.id, next.epoch, next);
    if (await withinTime(stored, this.options.storeTimeout)) session.advance(next);
    else this.discard(session);
  }

  private async closeLane(session: LiveSession): Promise<void> {
    await session.idle();
    await this.ledger.drain();
    const window = this.ledger.close(session);
    if (window) await this.store.closeLane(session.id, session.lane, window, true);
  }

  /** What it accepted is complete at once, whatever still runs: of all the rest its client learns that it never ran. */
  private async closeEnded(session: LiveSession): Promise<void> {
    const { id, key, lane, busy } = session;
    const window = this.ledger.close(session);
    if (!window) return;
    const written = this.store.closeLane(id, lane, window, !busy).finally(() => this.closing.delete(key));
    this.closing.set(key, written);
    await written;
    if (!busy) return;
    await session.idle();
    await this.store.closeLane(id, lane, window, true);
  }

  /** The longest unused session that runs nothing gives its place. */
  private evict(): void {
    for (const session of this.hot.values()) {
      if (session.busy) continue;
      this.release(session.id).catch((error) => this.logger.warn(`Could not close a lane: ${error}`));
      return;
    }
  }

  private bury(session: LiveSession, reason: CloseReason): void {
    if (session.ended) return;
    session.ended = reason;
    this.gone.set(session.key, session);
    this.forgetLater(session);
    this.events.emit('closed', { sessionId: session.key, module: session.module, reason });
  }

  /** Not while its calls run: their results are sealed with its keys. */
  private forgetLater(session: LiveSession): void {
    setTimeout(() => {
      if (session.busy) return this.forgetLater(session);
      this.gone.delete(session.key);
      session.erase();
    }, ENDED_MS).unref();
  }
}
