import {
  type Asked,
  type ClientFinished,
  type ClientPrimitives,
  type FinishSent,
  type KeySize,
  LIMITS,
  type NumberAnswer,
  type Sending,
  type ServerOptions,
  type StartAnswered,
  type Step,
  toHex,
  wait,
} from '@sealwire/core';
import type { Message } from '../delivery/message.js';
import { type Opened, openTold, told } from '../delivery/setbacks.js';
import { announce } from '../streams/exchange.js';
import { FirstCalls } from './first-calls.js';
import type { Provable, Sent } from './sent.js';
import { type Moment, now, type Session } from './session.js';

export interface Handshaken {
  readonly finished: ClientFinished;
  readonly serverOptions: ServerOptions;
  readonly roundTripMs: number;
  readonly frameBytes: readonly [number, number, number, number];
}

/** Clocks that differ by more over the same time prove nothing. */
const CLOCKS_AGREE_MS = 1_000;

/** The questions and calls of one step 3, and their answers in step 4. */
export class FinishPlan {
  /** step 2, as far as it opened */
  answered: { readonly serverOptions: ServerOptions; readonly at: Moment } | undefined;
  #first: FirstCalls | undefined;
  #asked: { readonly message: Message; readonly sent: Sent; readonly list: number; readonly place: number }[] = [];
  #riders: Message[] = [];
  #boarded: Sent[] = [];
  #told: { readonly message: Message; readonly sent: Sent; readonly answer: NumberAnswer; readonly opened: Opened }[] =
    [];

  constructor(
    private readonly primitives: ClientPrimitives,
    private readonly keySize: KeySize,
    /** the session that the new one replaces */
    private readonly session: Session | undefined,
    private readonly messages: ReadonlySet<Message>,
    /** earlier handshakes that ended between steps 3 and 4 */
    private readonly halfMade: readonly FirstCalls[],
    /** whether `onSession` has to run before the messages that wait */
    private readonly greets: boolean,
  ) {}

  /** set when step 3 was built, so that its calls may run */
  get first(): FirstCalls | undefined {
    return this.#first;
  }

  *prepare({ serverOptions }: StartAnswered): Step<{ asked: Asked[]; firstCalls: Uint8Array[] }> {
    this.answered = { serverOptions, at: now() };
    const asked = yield* this.#ask();
    // one place stays free, in case this handshake too is left half finished with calls in it
    this.#riders = asked.length < LIMITS.renewals ? chooseRiders(this.messages, this.greets) : [];
    return { asked, firstCalls: this.#riders.map(({ payload }) => payload) };
  }

  /** Names the first calls, as long as there is the key for that. */
  *name(finish: FinishSent): Step<FirstCalls> {
    const { incarnation } = (this.answered as NonNullable<typeof this.answered>).serverOptions;
    const first = new FirstCalls(this.primitives, this.keySize, finish, incarnation, this.#riders.length);
    this.#boarded = [];
    for (const [i, { places }] of this.#riders.entries()) this.#boarded.push(yield* first.sent(i, places.length));
    return first;
  }

  /**
   * From here on the first calls may run, under a session that step 4 may never complete.
   *
   * @returns false if one of them was given up while step 3 was sealed, so that it must not be sent
   */
  sent(finish: FinishSent, first: FirstCalls): boolean {
    if (this.#riders.some(({ state }) => state !== 'waiting')) return false;
    this.#first = first;
    this.#riders.forEach((rider, i) => {
      announce(rider, finish.frame, false);
      rider.board(this.#boarded[i] as Sent);
    });
    return true;
  }

  /** Opens the results that step 4 brought. */
  *open({ renewalAnswers, firstAnswers }: ClientFinished): Step<void> {
    const asked = this.#asked.map(({ message, sent, list, place }) => {
      return { message, sent, answer: this.#aged(sent, renewalAnswers[list]?.[place] ?? UNKNOWN) };
    });
    const first = this.#riders.map((message, i) => {
      return { message, sent: this.#boarded[i] as Sent, answer: firstAnswers[i] ?? UNKNOWN };
    });
    for (const { message, sent, answer } of [...asked, ...first]) {
      this.#told.push({ message, sent, answer, opened: yield* openTold(sent, answer) });
    }
  }

  /** Tells each message what became of its number. @returns whether that brought a call to its end */
  settle(session: Session): boolean {
    if (this.#first) this.#first.session = session;
    for (const { message, sent, answer, opened } of this.#told) told(message, sent, answer, opened);
    return this.#told.some(({ answer: { known } }) => known === 'result' || known === 'ran');
  }

  /**
   * A server that keeps sessions in memory knows nothing of those before its start. A number that was first sent after that
   * start, to a session that the server never had, did not run (PROTOCOL.md section 4.3).
   */
  #aged(sent: Sent, answer: NumberAnswer): NumberAnswer {
    if (answer.known !== 'unknown' || !this.answered) return answer;
    const { serverOptions, at } = this.answered;
    if (serverOptions.age === 0 || toHex(serverOptions.incarnation) === toHex(sent.incarnation)) return answer;
    const monotonic = at.monotonic - sent.at.monotonic;
    const wall = at.wall - sent.at.wall;
    const after = monotonic < serverOptions.age && wall < serverOptions.age;
    return after && Math.abs(monotonic - wall) <= CLOCKS_AGREE_MS ? { known: 'never_ran' } : answer;
  }

  /**
   * Names the old sessions: the current one also with nothing to ask, so that the server ends it, and those of half-made
   * handshakes, the newest first, because one of them may hold the data by now.
   */
  *#ask(): Step<Asked[]> {
    const lists = new Map<Provable, Sending[]>();
    if (this.session) lists.set(this.session, []);
    for (const first of this.halfMade.slice(-HALF_MADE).reverse()) lists.set(first, []);
    let total = 0;
    this.#asked = [];
    for (const message of this.messages) {
      const { sent } = message;
      if (!sent || total === LIMITS.renewalNumbers) continue;
      const numbers = lists.get(sent.session) ?? [];
      if (!lists.has(sent.session) && lists.size === LIMITS.renewals) continue;
      lists.set(sent.session, numbers);
      const list = [...lists.keys()].indexOf(sent.session);
      this.#asked.push({ message, sent, list, place: numbers.length });
      total++;
      const { number } = sent;
      const place = numbers.push({ number, digest: NOTHING }) - 1;
      // a frame may still be on its way to being sealed
      numbers[place] = { number, digest: yield* wait(sent.digest()) };
    }
    return [...lists].map(([{ id, key }, numbers]) => ({ sessionId: id, key, numbers }));
  }
}

/** How many half-made handshakes are remembered. With the current session they fill the places of a step 3 but one. */
export const HALF_MADE = LIMITS.renewals - 2;

const NOTHING = new Uint8Array(0);
const UNKNOWN: NumberAnswer = { known: 'unknown' };

/** Those that wait, as many as fit; what is too large goes after step 4, under a number of its own. */
function chooseRiders(messages: ReadonlySet<Message>, greets: boolean): Message[] {
  const riders: Message[] = [];
  let calls = 0;
  let bytes = 2;
  for (const message of messages) {
    // a first call is complete bytes
    if (message.state !== 'waiting' || message.upload || (greets && !message.work.how.early)) continue;
    const length = 4 + message.payload.length;
    // padding adds at most an eighth
    const fits = (bytes + length) * (9 / 8) + 64 <= LIMITS.firstCallsSent;
    if (!fits || calls + message.places.length > LIMITS.batch) continue;
    calls += message.places.length;
    bytes += length;
    riders.push(message);
  }
  return riders;
}

/** Handshakes in a row without a pause. */
const FREE = 3;
const MINUTE = 60_000;
const BLOCKED_MS = 5 * MINUTE;

/** How often handshakes may happen: what an unsealed hint can set off is bounded, whoever forges it. */
export class Pace {
  #recent = 0;
  #last = Number.NEGATIVE_INFINITY;
  #hintsSince: number | undefined;
  #lastHint = Number.NEGATIVE_INFINITY;

  /** Milliseconds before the next handshake: none for three in a row, then 1 to 60 seconds with jitter. */
  delay(): number {
    const quiet = performance.now() - this.#last;
    if (quiet > 2 * MINUTE) this.#recent = 0;
    if (this.#recent < FREE) return 0;
    const interval = Math.min(MINUTE, 1000 * 2 ** (this.#recent - FREE)) * (0.5 + Math.random() / 2);
    return Math.max(0, interval - quiet);
  }

  started(): void {
    this.#recent++;
    this.#last = performance.now();
  }

  /** @returns whether for five minutes there was nothing but hints */
  hint(): boolean {
    const now = performance.now();
    if (this.#hintsSince === undefined || now - this.#lastHint > MINUTE) this.#hintsSince = now;
    this.#lastHint = now;
    return now - this.#hintsSince >= BLOCKED_MS;
  }

  /** An answer has opened. */
  opened(): void {
    this.#hintsSince = undefined;
  }
}
