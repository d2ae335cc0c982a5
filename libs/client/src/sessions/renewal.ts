import {
  type ClientFinished,
  decodeCalls,
  decodeReply,
  encodeCallNumber,
  encodeCalls,
  erase,
  FIRST_CALLS,
  type FinishSent,
  frameDigest,
  LIMITS,
  type Primitives,
  proveSession,
  type Renewal,
  type StartAnswered,
  toHex,
} from '@sealwire/core';
import { fitsFirstCalls, judge, type Message, type Sent, type Verdict } from '../delivery/message.js';
import type { Finish } from './handshake.js';

type SentSession = Sent['session'];

/** What one step 3 asks and carries, and how step 4 answers it to each message. */
export class FinishPlan {
  #asked = new Map<Message, { readonly sent: Sent; readonly renewal: number; readonly place: number }>();
  #riders: Message[] = [];
  #first: { incarnation: Uint8Array } | undefined;

  constructor(private readonly primitives: Primitives) {}

  /** whether step 3 was built, so that its calls may run */
  get begun(): boolean {
    return this.#first !== undefined;
  }

  prepare(
    answered: StartAnswered,
    session: SentSession | undefined,
    messages: ReadonlySet<Message>,
    waiting: ReadonlySet<Message>,
  ): Finish {
    this.#asked.clear();
    const renewals = this.#ask(answered, session, messages);
    // one place stays free, in case this handshake too is left half finished with calls in it
    this.#riders = renewals.length < LIMITS.renewals ? chooseRiders(waiting) : [];
    const [only] = this.#riders;
    const calls = () => encodeCalls(this.#riders.flatMap((message) => decodeCalls(message.payload)));
    return {
      renewals,
      firstCalls: only === undefined ? new Uint8Array(0) : this.#riders.length === 1 ? only.payload : calls(),
      // sent a second time, step 3 is refused as used, and what the first calls gave is harder to come by
      patience: (2 / 3) * Math.max(0, ...this.#riders.map(({ timeout }) => timeout)),
      sent: (finish) => this.#sent(finish, answered.serverOptions.incarnation),
    };
  }

  /** @returns whether a call has come to its end */
  settle(finished: ClientFinished, messages: ReadonlySet<Message>): boolean {
    if (this.#first) this.#first.incarnation = finished.terms.incarnation;
    const riders = new Set(this.#riders);
    let ended = false;
    for (const message of messages) {
      const { sent } = message;
      if (!sent) continue;
      const verdict = riders.has(message)
        ? judgeReply(finished.firstReply, sent, message)
        : this.#judgeAnswer(finished, sent, message);
      ended ||= verdict.known === 'result' || verdict.known === 'ran';
      message.tell(verdict);
    }
    return ended;
  }

  /** Names the old sessions, the current one also with nothing to ask, so that the server ends it. */
  #ask(answered: StartAnswered, session: SentSession | undefined, messages: ReadonlySet<Message>): Renewal[] {
    const sessions = new Map<SentSession, Map<string, Renewal['numbers'][number]>>();
    if (session) sessions.set(session, new Map());
    let total = 0;
    const placed: [Message, Sent, number][] = [];
    for (const message of messages) {
      const { sent } = message;
      if (!sent) continue;
      const numbers = sessions.get(sent.session) ?? new Map<string, Renewal['numbers'][number]>();
      if (!sessions.has(sent.session) && sessions.size === LIMITS.renewals) continue;
      sessions.set(sent.session, numbers);
      const name = toHex(encodeCallNumber(sent.number));
      if (!numbers.has(name)) {
        if (total === LIMITS.renewalNumbers) continue;
        total++;
        numbers.set(name, { number: sent.number, digest: frameDigest(this.primitives, sent.frame) });
      }
      placed.push([message, sent, [...numbers.keys()].indexOf(name)]);
    }
    const order = [...sessions.keys()];
    for (const [message, sent, place] of placed) {
      this.#asked.set(message, { sent, renewal: order.indexOf(sent.session), place });
    }
    return [...sessions].map(([{ id, key }, numbers]) => ({
      sessionId: id,
      proof: proveSession(this.primitives, key, answered.h),
      numbers: [...numbers.values()],
    }));
  }

  /** From here on the first calls may run, under a session that step 4 may never complete. */
  #sent(finish: FinishSent, incarnation: Uint8Array): void {
    const first = { incarnation };
    this.#first = first;
    const session = { id: finish.sessionId, key: finish.firstKey };
    const total = this.#riders.reduce((sum, { places }) => sum + places.length, 0);
    let open = this.#riders.length;
    if (open === 0) erase(finish.firstKey);
    let offset = 0;
    for (const message of this.#riders) {
      let released = false;
      message.attach({
        session,
        number: FIRST_CALLS,
        frame: finish.frame,
        get incarnation() {
          return first.incarnation;
        },
        offset,
        total,
        release() {
          if (released) return;
          released = true;
          if (--open === 0) erase(finish.firstKey);
        },
      });
      offset += message.places.length;
    }
  }

  #judgeAnswer(finished: ClientFinished, sent: Sent, message: Message): Verdict {
    const asked = this.#asked.get(message);
    const answer = asked?.sent === sent ? finished.renewalAnswers[asked.renewal]?.[asked.place] : undefined;
    if (!answer) return { known: 'unknown' };
    return answer.known === 'result' ? judgeReply(answer.reply, sent, message) : { known: answer.known };
  }
}

function judgeReply(payload: Uint8Array, sent: Sent, message: Message): Verdict {
  try {
    const reply = decodeReply(payload);
    if ('status' in reply && reply.status === 'busy') return { known: 'never_ran' };
    return judge(reply, sent.total, sent.offset, message.places.length) ?? { known: 'unknown' };
  } catch {
    return { known: 'unknown' };
  }
}

/** Those that wait with nothing unanswered, as many as fit; what is too large goes after step 4, as a call of its own. */
function chooseRiders(waiting: ReadonlySet<Message>): Message[] {
  const riders: Message[] = [];
  let calls = 0;
  let bytes = 0;
  for (const message of waiting) {
    if (message.sent || message.stopped) continue;
    const fits = fitsFirstCalls(bytes + message.payload.length);
    if (!fits || calls + message.places.length > LIMITS.batch) continue;
    calls += message.places.length;
    bytes += message.payload.length;
    riders.push(message);
  }
  return riders;
}
