import {
  type CallNumber,
  type ClientFinished,
  type ClientPrimitives,
  callFrameLength,
  callIdentity,
  decodeReply,
  erase,
  FIRST_LANE,
  frameDigest,
  isPending,
  type KeySize,
  nextEpochSecret,
  openResult,
  type Random,
  type Reply,
  run,
  type ServerOptions,
  type Soon,
  type Step,
  sealCall,
} from '@sealwire/core';
import { type LiveOpener, type LiveSealer, type openLiveResult, type sealLiveCall } from '@sealwire/core/live';
import type { RenewalReason } from '../events.js';
import type { Settings, Tuning } from '../options.js';
import type { Provable, Sent } from './sent.js';

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

interface Epoch {
  readonly index: number;
  readonly clientToServer: Uint8Array;
  readonly serverToClient: Uint8Array;
  readonly since: Moment;
  calls: number;
  bytes: number;
  /** frames whose results are still to be opened */
  open: number;
  /** The server opens this epoch and the next one: going two ahead of it would lock the client out. */
  confirmed: boolean;
}

const NOTHING = new Uint8Array(0);

/** Keys, lane, counter and epochs of one session. */
export class Session implements Provable {
  readonly id: Uint8Array;
  readonly key: Uint8Array;
  /** bytes of a frame, and of a call's streams, that the server takes */
  readonly maxBody: number;
  readonly maxUpload: number;
  /** seconds between two signs of life of an idle stream */
  readonly pulse: number;
  lane: number;
  incarnation: Uint8Array;
  /** No new number is taken from it any more; results of the ones that are out may still come. */
  ended = false;
  #counter = 0;
  #epoch: Epoch;
  #retired = false;
  #open = 0;
  readonly #began = now();
  #lastOpened = this.#began;
  readonly #idleMs: number;
  readonly #lifetimeMs: number;
  readonly #primitives: ClientPrimitives;
  readonly #tuning: Tuning;

  constructor(
    settings: Settings,
    private readonly keySize: KeySize,
    private readonly random: Random,
    { sessionId, secrets, terms }: ClientFinished,
    { maxBody, maxUpload, pulse }: ServerOptions,
  ) {
    this.maxBody = maxBody;
    this.maxUpload = maxUpload;
    this.pulse = pulse;
    this.#primitives = settings.primitives;
    this.#tuning = settings.tuning;
    this.id = sessionId;
    this.key = secrets.renewal;
    this.lane = terms.lane;
    this.incarnation = terms.incarnation;
    // before its end by the server's clock, whose idle time began a moment before the last result opened here
    const margin = Math.min(10_000, terms.idle * 250);
    this.#idleMs = terms.idle * 1000 - margin;
    this.#lifetimeMs = terms.lifetime * 1000 - margin;
    this.#epoch = newEpoch(0, secrets.clientToServer, secrets.serverToClient);
    this.#epoch.confirmed = true;
  }

  /** Why no number may be taken from it any more; undefined if one may. */
  get over(): RenewalReason | undefined {
    if (this.#counter >= this.#tuning.counter) return 'numbers_used_up';
    if (elapsed(this.#lastOpened) > this.#idleMs) return 'idle';
    return elapsed(this.#began) > this.#lifetimeMs ? 'lifetime' : undefined;
  }

  /** Seals a payload under the next number, which is taken before anything is awaited. */
  seal(payload: Uint8Array, calls: number): SentCall {
    this.#advance();
    return this.#seal({ lane: this.lane, counter: ++this.#counter }, payload, calls);
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
    this.#advance();
    const epoch = this.#epoch;
    const number = { lane: this.lane, counter: ++this.#counter };
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

  #seal(number: CallNumber, payload: Uint8Array, calls: number): SentCall {
    const epoch = this.#epoch;
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
    return new SentCall(this, number, calls, sealed, epoch);
  }

  /** @throws SealwireError if the frame is not the answer to that call */
  *open(header: Uint8Array, epoch: Epoch, frame: Uint8Array): Step<Reply> {
    const key = { primitives: this.#primitives, keySize: this.keySize, secret: epoch.serverToClient };
    const body = yield* openResult(key, header, frame);
    epoch.bytes += frame.length;
    epoch.confirmed = true;
    this.#lastOpened = now();
    return decodeReply(body);
  }

  openLive(open: typeof openLiveResult, callHeader: Uint8Array, epoch: Epoch, header: Uint8Array): LiveOpener {
    const key = { primitives: this.#primitives, keySize: this.keySize, secret: epoch.serverToClient };
    return open(key, callHeader, header);
  }

  /** The first piece of a live result opened. */
  alive(epoch: Epoch): void {
    epoch.confirmed = true;
    this.#lastOpened = now();
  }

  digest(frame: Uint8Array): Uint8Array {
    return frameDigest(this.#primitives, frame);
  }

  identity(number: CallNumber, frame: Uint8Array, index: number): Uint8Array {
    return callIdentity(this.#primitives, this.key, { number, digest: this.digest(frame) }, index);
  }

  /** Lanes only go forward: an answer to an older frame changes nothing. */
  adoptLane(lane: number, incarnation: Uint8Array): boolean {
    if (lane <= this.lane) return false;
    this.lane = lane;
    this.incarnation = incarnation;
    this.#counter = 0;
    return true;
  }

  /** Erases the keys once nothing refers to them. */
  retire(): void {
    this.#retired = true;
    this.ended = true;
    this.#erase(this.#epoch);
  }

  release(epoch: Epoch): void {
    epoch.open--;
    this.#open--;
    this.#erase(epoch);
  }

  #advance(): void {
    const { calls, bytes, since, confirmed, index, clientToServer, serverToClient } = this.#epoch;
    const { callsPerEpoch, bytesPerEpoch, epochSeconds } = this.#tuning;
    const due = calls >= callsPerEpoch || bytes >= bytesPerEpoch || elapsed(since) >= epochSeconds * 1000;
    if (!due || !confirmed) return;
    const old = this.#epoch;
    this.#epoch = newEpoch(
      index + 1,
      nextEpochSecret(this.#primitives, clientToServer, 'c2s'),
      nextEpochSecret(this.#primitives, serverToClient, 's2c'),
    );
    erase(clientToServer);
    this.#erase(old);
  }

  #erase(epoch: Epoch): void {
    if (epoch.open === 0 && (epoch !== this.#epoch || this.#retired)) erase(epoch.clientToServer, epoch.serverToClient);
    if (this.#retired && this.#open === 0) erase(this.key);
  }
}

/** A call frame, and its header, which opens the answer. */
interface Sealed {
  readonly frame: Uint8Array;
  readonly header: Uint8Array;
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
    this.incarnation = session.incarnation;
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
    return this.session.open(this.#there.header, this.epoch, frame);
  }

  openTold(frame: Uint8Array): Step<Reply> {
    return this.open(frame);
  }

  openLive(open: typeof openLiveResult, header: Uint8Array): LiveOpener {
    return this.session.openLive(open, this.#there.header, this.epoch, header);
  }

  alive(): void {
    this.session.alive(this.epoch);
  }

  identity(index: number): Uint8Array {
    return this.session.identity(this.number, this.#there.frame, index);
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

function newEpoch(index: number, clientToServer: Uint8Array, serverToClient: Uint8Array): Epoch {
  return { index, clientToServer, serverToClient, since: now(), calls: 0, bytes: 0, open: 0, confirmed: false };
}
