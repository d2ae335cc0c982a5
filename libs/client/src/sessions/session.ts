import {
  type CallNumber,
  type ClientFinished,
  decodeReply,
  erase,
  type KeySize,
  nextEpochSecret,
  openResult,
  type Primitives,
  type Reply,
  SIZE,
  sealCall,
} from '@sealwire/core';
import type { Sent } from '../delivery/message.js';
import type { Settings, Tuning } from '../options.js';

/** A call frame and what opens its answer. */
export interface SentFrame extends Sent {
  readonly session: Session;
  readonly header: Uint8Array;
  readonly epoch: Epoch;
  /** sent when the server's idle time was over: only an answer under seal could mean that it ran */
  readonly afterIdle: boolean;
  answered: boolean;
}

interface Epoch {
  readonly index: number;
  readonly clientToServer: Uint8Array;
  readonly serverToClient: Uint8Array;
  readonly since: number;
  calls: number;
  bytes: number;
  /** frames whose results are still to be opened */
  open: number;
  /** The server opens this epoch and the next one: going two ahead of it would lock the client out. */
  confirmed: boolean;
}

/** Keys, lane, counter and epochs of one session. */
export class Session {
  readonly id: Uint8Array;
  readonly key: Uint8Array;
  lane: number;
  incarnation: Uint8Array;
  /** No new number is taken from it any more; results of the ones that are out may still come. */
  ended = false;
  #counter = 0;
  #epoch: Epoch;
  #retired = false;
  #open = 0;
  #unanswered = 0;
  #lastOpened = performance.now();
  readonly #idleMs: number;
  readonly #keySize: KeySize;
  readonly #primitives: Primitives;
  readonly #tuning: Tuning;

  constructor(settings: Settings, keySize: KeySize, finished: ClientFinished) {
    const { secrets, terms } = finished;
    this.#primitives = settings.primitives;
    this.#tuning = settings.tuning;
    this.#keySize = keySize;
    this.id = finished.sessionId;
    this.key = secrets.renewal;
    this.lane = terms.lane;
    this.incarnation = terms.incarnation;
    this.#idleMs = terms.idle * 1000;
    this.#epoch = newEpoch(0, secrets.clientToServer, secrets.serverToClient);
    this.#epoch.confirmed = true;
    erase(secrets.exporter);
  }

  /** Whether every number of the lane is taken. */
  get exhausted(): boolean {
    return this.#counter >= this.#tuning.counter;
  }

  /** Seals a payload under the next number, which is taken before anything is awaited. */
  seal(payload: Uint8Array, calls: number): SentFrame {
    this.#advance();
    const epoch = this.#epoch;
    const number: CallNumber = { lane: this.lane, counter: ++this.#counter };
    const key = { primitives: this.#primitives, keySize: this.#keySize, secret: epoch.clientToServer };
    const salt = this.#primitives.random(SIZE.salt);
    const { frame, header } = sealCall(key, { epoch: epoch.index & 0xff, sessionId: this.id, number, salt }, payload);
    const idle = performance.now() - this.#lastOpened;
    const afterIdle = this.#unanswered === 0 && idle > this.#idleMs + 10_000;
    if (!afterIdle) this.#unanswered++;
    epoch.calls++;
    epoch.bytes += frame.length;
    epoch.open++;
    this.#open++;
    let released = false;
    return {
      session: this,
      number,
      frame,
      header,
      epoch,
      afterIdle,
      answered: false,
      incarnation: this.incarnation,
      offset: 0,
      total: calls,
      release: () => {
        if (released) return;
        released = true;
        epoch.open--;
        this.#open--;
        this.#erase(epoch);
      },
    };
  }

  /** @throws SealwireError where the frame is not the answer to that call */
  open(sent: SentFrame, frame: Uint8Array): Reply {
    const { epoch } = sent;
    const key = { primitives: this.#primitives, keySize: this.#keySize, secret: epoch.serverToClient };
    const reply = decodeReply(openResult(key, sent.header, frame));
    epoch.bytes += frame.length;
    epoch.confirmed = true;
    this.#lastOpened = performance.now();
    const final = 'outcomes' in reply || (reply.status !== 'running' && reply.status !== 'busy');
    if (final && !sent.answered) {
      sent.answered = true;
      // a call that was given up stays unanswered for good: its frame may still reach the server
      if (!sent.afterIdle) this.#unanswered--;
    }
    return reply;
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

  #advance(): void {
    const { calls, bytes, since, confirmed, index, clientToServer, serverToClient } = this.#epoch;
    const { callsPerEpoch, bytesPerEpoch, epochSeconds } = this.#tuning;
    const due = calls >= callsPerEpoch || bytes >= bytesPerEpoch || performance.now() - since >= epochSeconds * 1000;
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

function newEpoch(index: number, clientToServer: Uint8Array, serverToClient: Uint8Array): Epoch {
  return {
    index,
    clientToServer,
    serverToClient,
    since: performance.now(),
    calls: 0,
    bytes: 0,
    open: 0,
    confirmed: false,
  };
}
