import {
  type CallFrame,
  type CallNumber,
  erase,
  fromHex,
  type KeySize,
  openCall,
  type Primitives,
  type Random,
  runSync,
  SealwireError,
  type SessionSecrets,
  sealResult,
  toHex,
} from '@sealwire/core';
import { type LiveOpener, openLiveCall, type PieceBody, sealLiveResult } from '@sealwire/core/live';
import type { CloseReason, LedgerSession, StoredSession } from '../ports/index.js';
import { Flights } from '../streams/flights.js';
import { type EpochSecrets, Epochs } from './epochs.js';

/** A call frame that opened, and the secrets its result goes out under. */
export interface OpenedFrame {
  /** empty if the call is live */
  readonly payload: Uint8Array;
  readonly secrets: EpochSecrets;
  /** of a live call: the opener, and the bodies of the pieces that the frame holds */
  readonly live: { readonly opener: LiveOpener; readonly bodies: readonly Uint8Array[] } | undefined;
}

const NONE = new Uint8Array(0);

export interface SessionSuite {
  readonly primitives: Primitives;
  readonly random: Random;
}

/** A session as step 3 creates it has no traffic secrets until step 4 is made. */
export type SessionRow = Omit<StoredSession, 'epoch' | 'secrets'> & Partial<Pick<StoredSession, 'epoch' | 'secrets'>>;

/**
 * A session in this process: its keys, its lane, the calls at work, and its end. Whoever handles a frame of it is inside it
 * (`enter`, `leave`): its keys are erased when it is over for this process and the last one left.
 */
export class Session implements LedgerSession {
  readonly key: string;
  readonly module: string;
  /** hexadecimal */
  readonly keyId: string | undefined;
  readonly lane: number;
  readonly incarnation: Uint8Array;
  readonly closed: LedgerSession['closed'];
  readonly firstCalls: LedgerSession['firstCalls'];
  readonly peer: string | undefined;
  readonly expires: number;
  readonly idleMs: number;
  /** of performance.now() */
  readonly since = performance.now();
  lastUsed: number;
  /** when the store was told of a call, by the store's clock; undefined until a frame opened here */
  touched: number | undefined;
  /** calls that run now */
  calls = 0;
  /** the one that its client renewed it with */
  heir: Session | undefined;
  /** single flight of the step to the next epoch */
  advancing: Promise<void> | undefined;
  readonly #suite: SessionSuite;
  readonly #keySize: KeySize;
  #epochs: Epochs | undefined;
  #ended: CloseReason | undefined;
  #released = false;
  #inside = 0;
  #streaming = 0;
  #flights: Flights | undefined;
  #onIdle: (() => void)[] | undefined;

  constructor(suite: SessionSuite, row: SessionRow) {
    this.#suite = suite;
    this.#keySize = row.keySize;
    this.key = row.key;
    this.module = row.module;
    this.keyId = row.keyId && toHex(row.keyId);
    this.lane = row.lane;
    this.incarnation = row.incarnation;
    this.closed = row.closed;
    this.firstCalls = row.firstCalls;
    this.peer = row.peer;
    this.expires = row.expires;
    this.idleMs = row.idleSeconds * 1000;
    this.lastUsed = row.lastUsed;
    this.#ended = row.ended;
    if (row.secrets) this.activate(row.secrets, row.epoch);
  }

  /** Keeps copies of the secrets and erases those that it was given. */
  activate(secrets: SessionSecrets, epoch = 0): void {
    this.#epochs = new Epochs(this.#suite.primitives, epoch, secrets);
    erase(secrets.clientToServer, secrets.serverToClient, secrets.renewal);
  }

  get id(): Uint8Array {
    return fromHex(this.key);
  }

  get epoch(): number {
    return this.#keys.epoch;
  }

  /** proves the session and names its calls; erased with it */
  get renewal(): Uint8Array {
    return this.#keys.renewal;
  }

  /** it takes no number any more and answers for those that it took */
  get ended(): CloseReason | undefined {
    return this.#ended;
  }

  /** no longer this process's: whoever held it over an `await` finds it again */
  get released(): boolean {
    return this.#released;
  }

  /** Whether somebody is inside. */
  get busy(): boolean {
    return this.#inside > 0;
  }

  enter(): void {
    this.#inside += 1;
  }

  leave(): void {
    this.#inside -= 1;
    if (this.#inside === 0 && this.#released) this.erase();
    this.#tellIdle();
  }

  /** Of one that is inside only streams are left. Answers what it calls when it leaves, instead of `leave`. */
  stream(): () => void {
    this.#streaming += 1;
    this.#tellIdle();
    return () => {
      this.#streaming -= 1;
      this.leave();
    };
  }

  /** Whether an accepted call has no outcome yet. */
  get working(): boolean {
    return this.#inside > this.#streaming;
  }

  /** Resolves when every accepted call has its outcome; streams may go on. */
  idle(): Promise<void> {
    if (!this.working) return Promise.resolve();
    return new Promise((resolve) => {
      this.#onIdle ??= [];
      this.#onIdle.push(resolve);
    });
  }

  #tellIdle(): void {
    if (this.working || !this.#onIdle) return;
    const waiting = this.#onIdle;
    this.#onIdle = undefined;
    for (const resolve of waiting) resolve();
  }

  get flights(): Flights {
    this.#flights ??= new Flights();
    return this.#flights;
  }

  /** A message has its result. */
  land(number: CallNumber): void {
    this.#flights?.end(number);
  }

  /** It answers for its numbers until it is erased. */
  end(reason: CloseReason): void {
    this.#ended ??= reason;
  }

  /** It goes on elsewhere, or from the store again: here its keys are erased as soon as nobody is inside. */
  release(): void {
    this.#released = true;
    if (!this.busy) this.erase();
  }

  erase(): void {
    this.#epochs?.erase();
  }

  /**
   * Opens a call of this epoch, of the one before while that is kept, or of the next. Nothing changes here.
   * @throws SealwireError `open_failed`; `session_unknown` if there are no keys for its epoch
   */
  open(frame: CallFrame): OpenedFrame {
    const secrets = this.#keys.of(frame.epoch);
    secrets.assertKept();
    const { primitives } = this.#suite;
    const key = { primitives, keySize: this.#keySize, secret: secrets.clientToServer };
    if (!frame.live) return { payload: openCall(key, frame), secrets, live: undefined };
    const opener = openLiveCall(key, frame);
    return { payload: NONE, secrets, live: { opener, bodies: runSync(opener.push(frame.chunks)) } };
  }

  advance(epoch: number): void {
    this.#keys.advance(epoch);
  }

  /** @throws SealwireError `session_unknown` if the keys of the call's epoch are erased by now */
  seal(frame: CallFrame, secrets: EpochSecrets, reply: Uint8Array): Uint8Array {
    secrets.assertKept();
    const { primitives, random } = this.#suite;
    const key = { primitives, keySize: this.#keySize, secret: secrets.serverToClient };
    return sealResult(key, { epoch: secrets.epoch & 0xff, callHeader: frame.header }, random, reply);
  }

  /** Begins a live result. @throws SealwireError `session_unknown` as {@link seal} */
  sealLive(frame: CallFrame, secrets: EpochSecrets, body: PieceBody, last: boolean): ReturnType<typeof sealLiveResult> {
    secrets.assertKept();
    const { primitives, random } = this.#suite;
    const key = { primitives, keySize: this.#keySize, secret: secrets.serverToClient };
    return sealLiveResult(key, { epoch: secrets.epoch & 0xff, callHeader: frame.header }, random, body, last);
  }

  get #keys(): Epochs {
    return this.#epochs ?? unknown();
  }
}

function unknown(): never {
  throw new SealwireError('session_unknown');
}
