import {
  attempt,
  type ClientPrimitives,
  discardHandshake,
  erase,
  type FinishSent,
  FRAME_TYPE,
  finishHandshake,
  type HandshakeSuite,
  type KeySize,
  LIMITS,
  type OuterCode,
  receiveFinishAnswer,
  receiveStartAnswer,
  run,
  SealwireError,
  type ServerOptions,
  type StartAnswered,
  type StartSent,
  type Step,
  startHandshake,
} from '@sealwire/core';
import { abandon, backoff, giveWay, landed, loadedCode, mayCopy, type Repeating, within } from '../delivery/limits.js';
import { PolicyError, RemoteError, unreachable } from '../errors.js';
import type { EventHub } from '../events.js';
import type { Settings } from '../options.js';
import { type Hint, lost, unopened } from '../transport/hint.js';
import { originOf, whenOnline } from '../transport/network.js';
import { HeadersError, post } from '../transport/transport.js';
import type { FinishPlan, Handshaken } from './renewal.js';

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

/** The server is there and asks for time. */
const LATER: ReadonlySet<string | undefined> = new Set<OuterCode>(['busy', 'rate_limited']);

/** After this time without an answer step 3 is sent once more: for it the server asks its store. */
const FINISH_MS = 10_000;

/** How often a server that never answered is tried. */
const COLD_TRIES = 2;

const NO_KEYS = 'The keys of the handshake could not be made, for which code is loaded';

interface Exchange<T> {
  readonly frame: Uint8Array;
  readonly attemptMs: number;
  open(frame: Uint8Array): Step<T>;
}

/** Plays steps 1 to 4 as the client. */
export class Handshaker {
  /** the pin that worked last comes first */
  #pins: readonly (Uint8Array | undefined)[];
  readonly #origin: string;
  /** No step 2 has opened yet. */
  #cold = true;
  /** step 1 of the next handshake, made beforehand */
  #prepared: { readonly pin: Uint8Array | undefined; readonly start: Promise<StartSent> } | undefined;
  /** why the last try did not get through */
  lastError: unknown;

  constructor(
    private readonly settings: Settings,
    private readonly keySize: KeySize,
    private readonly suite: HandshakeSuite<ClientPrimitives>,
    private readonly events: EventHub,
  ) {
    this.#origin = originOf(settings.url);
    this.#pins = settings.pins.length > 0 ? settings.pins : [undefined];
  }

  /**
   * @throws SealwireError with the code of an unsealed refusal, RemoteError for what no other try would mend, or the reason
   * of the signal
   */
  async run(signal: AbortSignal, plan: FinishPlan): Promise<Handshaken> {
    for (const pin of this.#pins) {
      try {
        return await this.#play(pin, signal, plan);
      } catch (error) {
        const refused = error instanceof SealwireError && error.code === 'handshake_failed';
        // a pin that opened step 2 is the right one
        if (!refused || pin === this.#pins.at(-1) || plan.answered) throw error;
      }
    }
    throw new SealwireError('handshake_failed');
  }

  /** Makes step 1 of the next handshake, which nothing is sent of, and prepares what its other steps need. Never rejects. */
  async prepare(): Promise<void> {
    const [pin] = this.#pins;
    this.#prepared ??= { pin, start: this.#start(pin) };
    const tried = this.#prepared;
    await tried.start.catch(() => {
      // the handshake itself tells why
      if (this.#prepared === tried) this.#prepared = undefined;
    });
    await this.suite.primitives.prepare?.();
  }

  /** Forgets what was made beforehand. */
  discard(): void {
    this.#prepared?.start.then(discardHandshake, () => {});
    this.#prepared = undefined;
  }

  async #start(pin: Uint8Array | undefined): Promise<StartSent> {
    const { modulePath, secureKey } = this.settings;
    return run(startHandshake(this.suite, { modulePath, keySize: this.keySize, serverKey: pin, secureKey }));
  }

  /** A step 1 that was made beforehand serves one handshake. */
  #takeStart(pin: Uint8Array | undefined): Promise<StartSent> {
    const prepared = this.#prepared;
    if (prepared?.pin !== pin) this.discard();
    this.#prepared = undefined;
    return prepared?.pin === pin && prepared ? prepared.start : this.#start(pin);
  }

  async #play(pin: Uint8Array | undefined, signal: AbortSignal, plan: FinishPlan): Promise<Handshaken> {
    const { connectTimeout } = this.settings;
    const began = performance.now();
    const start = await loadedCode(
      () => this.#takeStart(pin),
      NO_KEYS,
      signal,
      () => this.events.offline(),
    );
    let answered: StartAnswered | undefined;
    let finish: FinishSent | undefined;
    try {
      const step2 = await this.#exchange(signal, {
        frame: start.frame,
        attemptMs: connectTimeout,
        open: (frame) => receiveStartAnswer(start, frame),
      });
      const roundTripMs = performance.now() - began;
      answered = step2.opened;
      this.#cold = false;
      this.#pins = [pin, ...this.#pins.filter((other) => other !== pin)];
      this.#checkPolicy(answered.serverOptions, pin !== undefined);
      await this.#online(signal);
      const { asked, firstCalls } = await run(plan.prepare(answered));
      const sent = await run(finishHandshake(answered, asked, firstCalls));
      finish = sent;
      const first = await run(plan.name(sent));
      if (signal.aborted || !plan.sent(sent, first)) {
        discardHandshake(sent);
        signal.throwIfAborted();
        throw new Error('A first call was given up before it was sent.');
      }
      const step4 = await this.#exchange(signal, {
        frame: sent.frame,
        attemptMs: FINISH_MS,
        open: (frame) => receiveFinishAnswer(sent, frame),
      });
      const frameBytes = [start.frame.length, step2.bytes, sent.frame.length, step4.bytes] as const;
      return { finished: step4.opened, serverOptions: answered.serverOptions, roundTripMs, frameBytes };
    } finally {
      discardHandshake(start);
      if (answered) discardHandshake(answered);
      // but for the keys of the first calls, whose owners may have to ask about them
      finish?.symmetric.erase();
      if (finish) erase(finish.keys.c2);
    }
  }

  /** Sends the same bytes until an answer opens. What does not open proves nothing and changes nothing. */
  async #exchange<T>(
    signal: AbortSignal,
    { frame, attemptMs, open }: Exchange<T>,
  ): Promise<{ opened: T; bytes: number }> {
    const requests: Repeating = { origin: this.#origin, flights: [], copying: false, rouse: () => {} };
    const answers = new Map<AbortController, ReturnType<typeof answerTo>>();
    const isStart = frame[0] === FRAME_TYPE.start;
    // later the server's cookie is too old
    const end = performance.now() + LIMITS.cookieSeconds * 1000;
    let refusal: unknown;
    let due = 0;
    /** whether `due` ends a pause, and not the time that an answer may take */
    let pausing = false;
    try {
      for (let tries = 0; ; ) {
        if (performance.now() >= due) {
          await this.#online(signal);
          // the same bytes are still under way from before: that they were used may just mean that their answer is coming
          if (refusal) throw refusal;
          if (performance.now() > end) throw new SealwireError('unreachable', 'The handshake was not answered.');
          pausing = requests.flights.length > 0 && !mayCopy(requests);
          if (pausing) giveWay(requests);
          else {
            const flight = new AbortController();
            requests.flights.push(flight);
            answers.set(flight, answerTo(this.settings, frame, flight));
            tries++;
          }
          due = performance.now() + (pausing ? backoff(0) : attemptMs);
        }
        const came = await within(due - performance.now(), signal, Promise.race(answers.values()), pausing);
        if (came) {
          answers.delete(came.flight);
          landed(requests, came.flight);
          if (came.flight.signal.aborted) continue;
        } else if (pausing) due = 0;
        if (!came && (pausing || performance.now() < due)) continue;
        // one after the other: a forged answer must not meet the true one half way
        const answer = came?.answer;
        const tried = answer instanceof Uint8Array ? await run(attempt(open(answer))) : undefined;
        if (tried && 'value' in tried) return { opened: tried.value, bytes: (answer as Uint8Array).length };
        const hint = tried ? unopened(tried.error) : ((answer as Hint | undefined) ?? noAnswer(attemptMs));
        this.lastError = hint.error;
        if (FINAL.has(hint.code) && !(isStart && OF_STEP_3.has(hint.code))) refusal = hint.error;
        else this.#retry(hint, tries, isStart);
        if (refusal && requests.flights.length === 0) throw refusal;
        if (!came) continue;
        due = performance.now() + (refusal ? attemptMs / 4 : backoff(tries - 1, hint.wait));
        pausing = true;
      }
    } finally {
      abandon(requests);
    }
  }

  /** Offline nothing is sent, and no number taken. @throws the reason of the signal */
  async #online(signal: AbortSignal): Promise<void> {
    const back = whenOnline(signal);
    if (!back) return;
    this.events.offline();
    await back;
  }

  /** @throws RemoteError if this client has never reached a server and need not wait for one */
  #retry(hint: Hint, attempt: number, first: boolean): void {
    const { status, error, code } = hint;
    if (error instanceof HeadersError) throw error;
    if (first && this.#cold && !this.settings.waitForServer && !LATER.has(code)) {
      if (error instanceof SealwireError && error.code === 'bad_configuration') {
        throw new RemoteError('bad_configuration', error.message, { cause: error });
      }
      if (attempt >= COLD_TRIES) throw unreachable(`No Sealwire server was reached at ${this.settings.url}`, error);
    }
    this.events.emit('retrying', { what: 'handshake', attempt, status, cause: error });
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

/** A step is no live message, whoever answers with one. */
async function answerTo(settings: Settings, frame: Uint8Array, flight: AbortController) {
  const answer = await post(settings, frame, flight.signal);
  if (!('read' in answer)) return { flight, answer };
  answer.cancel().catch(() => {});
  return { flight, answer: unopened(new SealwireError('bad_frame')) };
}

function noAnswer(ms: number): Hint {
  const what = 'something on the way drops requests, or the server is slower than connectTimeout allows';
  return lost(new RemoteError('timeout', `No answer within ${ms} ms: ${what}.`));
}
