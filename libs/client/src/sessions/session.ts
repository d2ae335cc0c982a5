import {
  type CallNumber,
  type ClientPrimitives,
  callFrameLength,
  callIdentity,
  erase,
  FIRST_LANE,
  frameDigest,
  isPending,
  type KeySize,
  LIMITS,
  nextEpochSecret,
  openResult,
  type Random,
  type Reply,
  run,
  type Secret,
  type Soon,
  type Step,
  sealCall,
} from '@sealwire/core';
import {
  decodeResult,
  type LiveOpener,
  type LiveSealer,
  type openLiveResult,
  type sealLiveCall,
} from '@sealwire/core/live';
import type { RenewalReason } from '../events.js';
import type { Settings, Tuning } from '../options.js';
import type { Provable, Sent } from './sent.js';
import type { Epoch, SessionState } from './state.js';

/** One moment by both clocks: the monotonic one stands still while a machine sleeps, the other may be set. */
export interface Moment {
  readonly monotonic: number;
  readonly wall: number;
}

export function now(): Moment {
  return { monotonic: performance.now(), wall: Date.now() };
}

/** Milliseconds since then; of two clocks that differ, the one that says more. */
function elapsed(since: Moment): number {
  return Math.max(performance.now() - since.monotonic, Date.now() - since.wall);
}

const NOTHING = new Uint8Array(0);

/** Keys, lane, counter and epochs of one session. */
export class Session implements Provable {
  /** No new number is taken from it any more; results of the ones that are out may still come. */
  ended = false;
  /** the last number that this page may take */
  limit: number;
  /** told of each result that opened, so that a later page can go on from there */
  keeping: (() => void) | undefined;
  #retired = false;
  #open = 0;
  readonly #primitives: ClientPrimitives;
  readonly #tuning: Tuning;

  constructor(
    settings: Settings,
    private readonly keySize: KeySize,
    private readonly random: Random,
    readonly state: SessionState,
  ) {
    this.#primitives = settings.primitives;
    this.#tuning = settings.tuning;
    this.limit = this.#tuning.counter;
  }

  get id(): Uint8Array {
    return this.state.sessionId;
  }

  get key(): Secret {
    return this.state.renewal;
  }

  /** Why no number may be taken from it any more; undefined if one may. */
  get over(): RenewalReason | undefined {
    const { counter, accepted, lastOpened, began, terms } = this.state;
    // numbers that a page before had set aside are gaps, and a server takes no longer ones
    if (counter >= this.limit || counter - accepted >= LIMITS.forwardJump) return 'numbers_used_up';
    const { idle, lifetime } = terms;
    // before its end by the server's clock, whose idle time began a moment before the last result opened here
    const margin = Math.min(10_000, idle * 250);
    if (elapsed(lastOpened) > idle * 1000 - margin) return 'idle';
    return elapsed(began) > lifetime * 1000 - margin ? 'lifetime' : undefined;
  }

  /** Seals a payload under the next number, which is taken before anything is awaited. */
  seal(payload: Uint8Array, calls: number): SentCall {
    return this.#seal(this.#take(), payload, calls);
  }

  /**
   * The same for a call with streams.
   * @param begin `sealLiveCall`, which comes with what needs it
   * @param firstBody what its first piece holds, which is not the last one
   */
  sealLive(
    begin: typeof sealLiveCall,
    firstBody: Uint8Array,
    repeatable: boolean,
    calls: number,
  ): { sent: Sent; sealer: LiveSealer } {
    const number = this.#take();
    const { epoch } = this.state;
    const key = { primitives: this.#primitives, keySize: this.keySize, secret: epoch.clientToServer };
    const clear = { epoch: epoch.index & 0xff, sessionId: this.id, number, repeatable };
    const { sealer, first } = begin(key, clear, this.random, firstBody, false);
    const { header } = sealer;
    const frame = run(first);
    const sealed = isPending(frame) ? frame.then((bytes) => ({ frame: bytes, header })) : { frame, header };
    return { sent: this.#sent(number, calls, sealed, callFrameLength(firstBody.length), epoch), sealer };
  }

  /** Asks what became of first calls, which have a number of the session but no frame of their own. It runs nothing. */
  ask(index: number): SentCall {
    this.#advance();
    return this.#seal({ lane: FIRST_LANE, counter: index }, NOTHING, 0);
  }

  #take(): CallNumber {
    this.#advance();
    const { state } = this;
    return { lane: state.terms.lane, counter: ++state.counter };
  }

  #seal(number: CallNumber, payload: Uint8Array, calls: number): SentCall {
    const { epoch } = this.state;
    const key = { primitives: this.#primitives, keySize: this.keySize, secret: epoch.clientToServer };
    const clear = { epoch: epoch.index & 0xff, sessionId: this.id, number };
    // up to its first operation that has to be waited for it runs now, so the message has its key
    const sealed = run(sealCall(key, clear, this.random, payload));
    return this.#sent(number, calls, sealed, callFrameLength(payload.length), epoch);
  }

  #sent(number: CallNumber, calls: number, sealed: Soon<Sealed>, bytes: number, epoch: Epoch): SentCall {
    epoch.calls++;
    epoch.bytes += bytes;
    epoch.open++;
    this.#open++;
    const named = this.key instanceof Uint8Array ? sealed : this.#named(this.key, number, calls, sealed);
    return new SentCall(this, number, calls, named, epoch);
  }

  /** Names the calls before anything is sent: a platform answers later, and whoever has to resend them needs it at once. */
  async #named(key: Secret, number: CallNumber, calls: number, sealed: Soon<Sealed>): Promise<Sealed> {
    const { frame, header } = await sealed;
    const first = { number, digest: this.digest(frame) };
    const names = Array.from({ length: calls }, (_, i) => callIdentity(this.#primitives, key, first, i));
    return { frame, header, identities: await Promise.all(names) };
  }

  /** @throws SealwireError if the frame is not the answer to that call */
  *open(number: CallNumber, header: Uint8Array, epoch: Epoch, frame: Uint8Array): Step<Reply> {
    const key = { primitives: this.#primitives, keySize: this.keySize, secret: epoch.serverToClient };
    const body = yield* openResult(key, header, frame);
    epoch.bytes += frame.length;
    this.alive(number, epoch);
    return decodeResult(body);
  }

  openLive(open: typeof openLiveResult, callHeader: Uint8Array, epoch: Epoch, header: Uint8Array): LiveOpener {
    const key = { primitives: this.#primitives, keySize: this.keySize, secret: epoch.serverToClient };
    return open(key, callHeader, header);
  }

  /** A result opened, or the first piece of a live one. */
  alive({ lane, counter }: CallNumber, epoch: Epoch): void {
    const { state } = this;
    epoch.confirmed = true;
    state.lastOpened = now();
    if (lane === state.terms.lane && counter > state.accepted) state.accepted = counter;
    this.keeping?.();
  }

  digest(frame: Uint8Array): Uint8Array {
    return frameDigest(this.#primitives, frame);
  }

  identity(number: CallNumber, frame: Uint8Array, index: number): Uint8Array {
    return callIdentity(this.#primitives, this.key as Uint8Array, { number, digest: this.digest(frame) }, index);
  }

  /** Lanes only go forward: an answer to an older frame changes nothing. */
  adoptLane(lane: number, incarnation: Uint8Array): boolean {
    const { state } = this;
    if (lane <= state.terms.lane) return false;
    state.terms = { ...state.terms, lane, incarnation };
    // a later page that knows the old lane only would come to this one and take the same numbers
    if (!this.keeping) state.counter = 0;
    state.accepted = -1;
    return true;
  }

  /** Erases the keys once nothing refers to them. */
  retire(): void {
    this.#retired = true;
    this.ended = true;
    this.#erase(this.state.epoch);
  }

  release(epoch: Epoch): void {
    epoch.open--;
    this.#open--;
    this.#erase(epoch);
  }

  #advance(): void {
    const old = this.state.epoch;
    const { calls, bytes, since, confirmed, index, clientToServer, serverToClient } = old;
    const { callsPerEpoch, bytesPerEpoch, epochSeconds } = this.#tuning;
    const due = calls >= callsPerEpoch || bytes >= bytesPerEpoch || elapsed(since) >= epochSeconds * 1000;
    if (!due || !confirmed) return;
    this.state.epoch = newEpoch(
      index + 1,
      nextEpochSecret(this.#primitives, clientToServer, 'c2s'),
      nextEpochSecret(this.#primitives, serverToClient, 's2c'),
      false,
    );
    forget(clientToServer);
    this.#erase(old);
  }

  #erase(epoch: Epoch): void {
    const gone = epoch !== this.state.epoch || this.#retired;
    if (gone && epoch.open === 0) forget(epoch.clientToServer, epoch.serverToClient);
    if (this.#retired && this.#open === 0) forget(this.key);
  }
}

/** A call frame, and its header, which opens the answer. */
interface Sealed {
  readonly frame: Uint8Array;
  readonly header: Uint8Array;
  /** of its calls, if they take time */
  readonly identities?: readonly Uint8Array[];
}

/** A call frame and what opens its answer. */
class SentCall implements Sent {
  at = now();
  requests = 0;
  readonly incarnation: Uint8Array;
  #sealed: Soon<Sealed>;
  #released = false;

  constructor(
    readonly session: Session,
    readonly number: CallNumber,
    readonly total: number,
    sealed: Soon<Sealed>,
    private readonly epoch: Epoch,
  ) {
    this.incarnation = session.state.terms.incarnation;
    this.#sealed = sealed;
    if (!isPending(sealed)) return;
    const there = (done: Sealed): void => {
      this.#sealed = done;
    };
    // whoever waits for the frame is told of an error
    sealed.then(there, () => {});
  }

  frame(): Soon<Uint8Array> {
    return isPending(this.#sealed) ? this.#sealed.then(({ frame }) => frame) : this.#sealed.frame;
  }

  digest(): Soon<Uint8Array> {
    const frame = this.frame();
    return isPending(frame) ? frame.then((bytes) => this.session.digest(bytes)) : this.session.digest(frame);
  }

  open(frame: Uint8Array): Step<Reply> {
    return this.session.open(this.number, this.#there.header, this.epoch, frame);
  }

  openTold(frame: Uint8Array): Step<Reply> {
    return this.open(frame);
  }

  openLive(open: typeof openLiveResult, header: Uint8Array): LiveOpener {
    return this.session.openLive(open, this.#there.header, this.epoch, header);
  }

  alive(): void {
    this.session.alive(this.number, this.epoch);
  }

  identity(index: number): Uint8Array {
    const { frame, identities } = this.#there;
    return identities?.[index] ?? this.session.identity(this.number, frame, index);
  }

  release(): void {
    if (this.#released) return;
    this.#released = true;
    this.session.release(this.epoch);
  }

  /** It was sent, so it is sealed. */
  get #there(): Sealed {
    return this.#sealed as Sealed;
  }
}

export function newEpoch(index: number, clientToServer: Secret, serverToClient: Secret, confirmed: boolean): Epoch {
  return { index, clientToServer, serverToClient, since: now(), calls: 0, bytes: 0, open: 0, confirmed };
}

/** What the platform holds goes with what refers to it. */
function forget(...secrets: readonly Secret[]): void {
  for (const secret of secrets) if (secret instanceof Uint8Array) erase(secret);
}
