import {
  type ClientFinished,
  erase,
  type FinishSent,
  FRAME_TYPE,
  finishHandshake,
  type HandshakeSuite,
  hedgedRandom,
  type KeySize,
  LIMITS,
  type OuterCode,
  type Renewal,
  receiveFinishAnswer,
  receiveStartAnswer,
  SealwireError,
  type ServerOptions,
  type StartAnswered,
  startHandshake,
} from '@sealwire/core';
import { backoff, type Interrupt } from '../delivery/interrupt.js';
import { PolicyError } from '../errors.js';
import type { Settings } from '../options.js';
import { type Answer, post } from '../transport/transport.js';

/** Refusals that the same bytes would meet again. */
export const FINAL: ReadonlySet<string | undefined> = new Set<OuterCode>([
  'handshake_failed',
  'handshake_used',
  'session_unknown',
  'version',
  'module_unknown',
  'unsupported_media_type',
  'encryption_required',
  'too_large',
]);

/** Before step 3 there is no session that they could be about: in answer to step 1 they come from the way, not from the server. */
const OF_STEP_3: ReadonlySet<string | undefined> = new Set<OuterCode>(['handshake_used', 'session_unknown']);

/** After this time without an answer the same bytes are sent once more; longer for step 3, for which the server asks its store. */
const ATTEMPT_MS = { start: 5_000, finish: 10_000 };

export interface Handshaken {
  readonly finished: ClientFinished;
  readonly roundTripMs: number;
  readonly frameBytes: readonly [number, number, number, number];
}

/** Ends a handshake that nobody waits for any more. */
export interface Stop {
  readonly interrupt: Interrupt<never>;
  readonly signal: AbortSignal;
  abort(): void;
}

/** What goes into step 3, decided when step 2 has opened; `sent` learns of the frame before it leaves. */
export interface Finish {
  readonly renewals: readonly Renewal[];
  readonly firstCalls: Uint8Array;
  /** milliseconds that step 4 may take, for the first calls run before it */
  readonly patience: number;
  sent(finish: FinishSent): void;
}

/** Plays steps 1 to 4 as the client. */
export class Handshaker {
  readonly #suite: HandshakeSuite;
  /** the pin that worked last comes first */
  #pins: readonly (Uint8Array | undefined)[];

  constructor(
    private readonly settings: Settings,
    private readonly keySize: KeySize,
    private readonly onError: (error: unknown) => void,
  ) {
    this.#suite = { primitives: settings.primitives, random: hedgedRandom(settings.primitives) };
    this.#pins = settings.pins.length > 0 ? settings.pins : [undefined];
  }

  /** @throws SealwireError with the code of an unsealed refusal, PolicyError, or what `stop` was rejected with */
  async run(stop: Stop, prepare: (answered: StartAnswered) => Finish): Promise<Handshaken> {
    for (const pin of this.#pins) {
      let opened = false;
      try {
        return await this.#play(pin, stop, (answered) => {
          opened = true;
          this.#pins = [pin, ...this.#pins.filter((other) => other !== pin)];
          return prepare(answered);
        });
      } catch (error) {
        if (opened || pin === this.#pins.at(-1) || !isRefusal(error)) throw error;
      }
    }
    throw new SealwireError('handshake_failed');
  }

  async #play(
    pin: Uint8Array | undefined,
    stop: Stop,
    prepare: (answered: StartAnswered) => Finish,
  ): Promise<Handshaken> {
    const { modulePath, secureKey } = this.settings;
    const began = performance.now();
    const start = startHandshake(this.#suite, { modulePath, keySize: this.keySize, serverKey: pin, secureKey });
    let answered: StartAnswered | undefined;
    try {
      const step2 = await this.#exchange(
        start.frame,
        (frame) => receiveStartAnswer(start, frame),
        stop,
        ATTEMPT_MS.start,
      );
      const roundTripMs = performance.now() - began;
      answered = step2.opened;
      this.#checkPolicy(answered.serverOptions, pin !== undefined);
      const finish = prepare(answered);
      const sent = finishHandshake(answered, finish.renewals, finish.firstCalls);
      finish.sent(sent);
      const step4 = await this.#exchange(
        sent.frame,
        (frame) => receiveFinishAnswer(sent, frame),
        stop,
        Math.max(ATTEMPT_MS.finish, finish.patience),
      );
      const frameBytes = [start.frame.length, step2.bytes, sent.frame.length, step4.bytes] as const;
      return { finished: step4.opened, roundTripMs, frameBytes };
    } finally {
      erase(start.ephemeral, start.decapsulationKey, start.c1);
      start.symmetric.erase();
      answered?.symmetric.erase();
    }
  }

  /** Sends the same bytes until an answer opens. What does not open proves nothing and changes nothing. */
  async #exchange<T>(
    frame: Uint8Array,
    open: (frame: Uint8Array) => T,
    stop: Stop,
    attemptMs: number,
  ): Promise<{ opened: T; bytes: number }> {
    // later the server's cookie is too old
    const end = performance.now() + LIMITS.cookieSeconds * 1000;
    const pending = new Set<Promise<Answer>>();
    const send = () => {
      const sending = post(this.settings, frame, stop.signal).finally(() => pending.delete(sending));
      pending.add(sending);
    };
    let refusal: unknown;
    for (let attempt = 0; ; attempt++) {
      if (!refusal) send();
      const answer = await stop.interrupt.race(refusal ? attemptMs / 4 : attemptMs, Promise.race(pending));
      if (answer?.frame) {
        try {
          return { opened: open(answer.frame), bytes: answer.frame.length };
        } catch (error) {
          this.onError(error);
        }
      } else if (answer) {
        this.onError(answer.error);
        const misplaced = frame[0] === FRAME_TYPE.start && OF_STEP_3.has(answer.code);
        if (FINAL.has(answer.code) && !misplaced) refusal = answer.error;
      }
      if (refusal) {
        // the same bytes are still under way from before: that they were used may just mean that their answer is coming
        if (!answer || pending.size === 0) throw refusal;
        continue;
      }
      if (performance.now() > end) throw new SealwireError('unreachable', 'The handshake was not answered.');
      await stop.interrupt.race(backoff(attempt, answer?.frame ? 0 : answer?.wait));
    }
  }

  /** Stricter than what was used: something on the way suppressed an upgrade, or the configuration is behind the server's. */
  #checkPolicy(options: ServerOptions, pinned: boolean): void {
    const missing = [
      options.requirePinned && !pinned ? 'a pinned serverKey' : [],
      options.requireSecureKey && !this.settings.secureKey ? 'a secureKey' : [],
      options.minKeySize > this.keySize ? `keySize ${options.minKeySize}` : [],
    ].flat();
    if (missing.length > 0) throw new PolicyError(`The server requires ${missing.join(' and ')} for this module.`);
  }
}

function isRefusal(error: unknown): boolean {
  return error instanceof SealwireError && error.code === 'handshake_failed';
}
