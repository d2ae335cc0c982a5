import {
  type CallNumber,
  type ClientPrimitives,
  callIdentity,
  erase,
  FIRST_LANE,
  type FinishSent,
  firstHeader,
  handshakeSecret,
  type KeySize,
  openResult,
  type Reply,
  SealwireError,
  type Soon,
  type Step,
  wait,
} from '@sealwire/core';
import { decodeResult, type LiveOpener, type openLiveResult } from '@sealwire/core/live';
import type { Provable, Sent } from './sent.js';
import { now, type Session } from './session.js';

/**
 * One step 3 and the calls inside it: numbers of a session whose other keys only step 4 brings. Without step 4 its key stays
 * until a later renewal has named it, for the server may have moved the data of the old session there.
 */
export class FirstCalls implements Provable {
  readonly id: Uint8Array;
  readonly digest: Uint8Array;
  /** set when step 4 opened, which ended the key of the first calls */
  session: Session | undefined;
  readonly #results: Uint8Array;
  #open: number;
  #named = false;

  constructor(
    readonly primitives: ClientPrimitives,
    private readonly keySize: KeySize,
    private readonly finish: FinishSent,
    readonly incarnation: Uint8Array,
    messages: number,
  ) {
    this.id = finish.sessionId;
    this.digest = finish.digest;
    this.#results = finish.firstResults;
    this.#open = messages;
    if (messages === 0) erase(this.#results);
  }

  get key(): Uint8Array {
    return this.finish.firstKey;
  }

  /** @param calls how many that message holds */
  *sent(index: number, calls: number): Step<Sent> {
    const number = { lane: FIRST_LANE, counter: index };
    // now, for step 4 ends the key
    const key = handshakeSecret(this.primitives, this.key);
    const identities: Uint8Array[] = [];
    for (let i = 0; i < calls; i++) {
      identities.push(yield* wait(callIdentity(this.primitives, key, { number, digest: this.digest }, i)));
    }
    return new SentFirst(this, number, identities);
  }

  *open(index: number, frame: Uint8Array): Step<Reply> {
    const key = {
      primitives: this.primitives,
      keySize: this.keySize,
      secret: handshakeSecret(this.primitives, this.#results),
    };
    return decodeResult(yield* openResult(key, firstHeader(this.id, this.digest, index), frame));
  }

  release(): void {
    if (--this.#open > 0) return;
    erase(this.#results);
    this.#erase();
  }

  /** A renewal has named its session, so that nothing is left there but what messages still ask about. */
  named(): void {
    this.#named = true;
    this.#erase();
  }

  #erase(): void {
    if (this.#named && this.#open <= 0 && !this.session) erase(this.key);
  }
}

class SentFirst implements Sent {
  at = now();
  requests = 0;
  #question: Sent | undefined;
  #released = false;

  constructor(
    private readonly first: FirstCalls,
    readonly number: CallNumber,
    private readonly identities: readonly Uint8Array[],
  ) {}

  get session(): Provable {
    return this.first.session ?? this.first;
  }

  get total(): number {
    return this.identities.length;
  }

  get incarnation(): Uint8Array {
    return this.first.incarnation;
  }

  /** A question, for the calls themselves were in step 3; without step 4 only a renewal can ask. */
  frame(): Soon<Uint8Array> | undefined {
    this.#question ??= this.first.session?.ask(this.number.counter);
    return this.#question?.frame();
  }

  digest(): Uint8Array {
    return this.first.digest;
  }

  *open(frame: Uint8Array): Step<Reply> {
    if (!this.#question) throw new SealwireError('open_failed');
    const reply = yield* this.#question.open(frame);
    if (!('first' in reply)) return reply;
    try {
      return yield* this.openTold(reply.first);
    } catch {
      // what brought it is authentic
      throw new SealwireError('bad_payload');
    }
  }

  /** A result that is a stream comes as the answer to the question itself. */
  openLive(open: typeof openLiveResult, header: Uint8Array): LiveOpener {
    if (!this.#question) throw new SealwireError('open_failed');
    return this.#question.openLive(open, header);
  }

  alive(): void {
    this.#question?.alive();
  }

  openTold(frame: Uint8Array): Step<Reply> {
    return this.first.open(this.number.counter, frame);
  }

  identity(index: number): Uint8Array {
    return this.identities[index] ?? new Uint8Array(0);
  }

  release(): void {
    if (this.#released) return;
    this.#released = true;
    this.#question?.release();
    this.first.release();
  }
}
