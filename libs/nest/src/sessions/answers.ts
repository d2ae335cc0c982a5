import {
  type CallFrame,
  type CallNumber,
  encodeReply,
  type MessageStatus,
  type NumberAnswer,
  SealwireError,
} from '@sealwire/core';
import type { ResolvedOptions } from '../options.js';
import type { Acceptance, NumberLedger } from '../ports/index.js';
import type { LiveReply } from '../streams/live-reply.js';
import { withinTime } from '../time-limit.js';
import type { Arrival } from './peer.js';
import type { OpenedFrame, Session } from './session.js';

type Status = Exclude<MessageStatus['status'], 'lane_moved'>;
type Refusal = Exclude<Acceptance['kind'], 'accepted' | 'running' | 'done' | 'lane_moved'>;
const STATUS_OF: Record<Refusal, Status> = {
  conflict: 'number_conflict',
  too_old: 'number_too_old',
  outcome_unknown: 'outcome_unknown',
  session_ended: 'session_ended',
  busy: 'busy',
};

/** A client that is told `running` ends its other requests: the first piece of a live result, on its way to one, is there before. */
const HEAD_START_MS = 1_000;

/** A frame that opened, and all that its answer needs. */
export interface Received {
  readonly session: Session;
  readonly frame: CallFrame;
  readonly opened: OpenedFrame;
  readonly digest: Uint8Array;
  readonly arrival: Arrival;
}

/** What frames are answered with that run nothing: a status, or the result of a number that was taken before. */
export class Answers {
  constructor(
    private readonly ledger: NumberLedger,
    private readonly limits: Pick<ResolvedOptions, 'storeTimeout' | 'abandonAfter'>,
  ) {}

  /** The result of a number that runs here; whoever asks for one that is live, beside many others, or no longer, is told that it runs. */
  async settled(received: Received, settled: Promise<Uint8Array | undefined>): Promise<Uint8Array> {
    const { session, frame, arrival } = received;
    const flight = session.flights.join(frame.number, arrival.answer, this.limits.abandonAfter, settled);
    if (flight.isLive) return this.status(received, 'running');
    const news = await flight.news(arrival.answer);
    if (news === 'left') return this.status(received, 'running');
    const running = (): Promise<'running'> =>
      new Promise((resolve) => setTimeout(resolve, HEAD_START_MS, 'running').unref());
    const result = await (news === 'live' ? Promise.race([settled, running()]) : settled);
    if (result === 'running') return this.status(received, result);
    return result ?? this.status(received, 'result_gone');
  }

  /** Of a live call no more than its beginning came: enough to tell what became of its number, if that was taken. */
  async broken(received: Received, error: unknown): Promise<Uint8Array> {
    const cut = error instanceof SealwireError && error.code === 'stream_cut';
    if (cut && received.frame.number.lane < received.session.lane) return this.moved(received);
    const answer = cut ? await this.recall(received) : undefined;
    if (answer?.known === 'result') return answer.frame;
    if (answer?.known === 'running') return this.status(received, 'running');
    if (answer?.known === 'ran') return this.status(received, 'result_gone');
    throw cut ? new SealwireError('bad_frame', undefined, { cause: error }) : error;
  }

  async moved(received: Received): Promise<Uint8Array> {
    const answer = await this.recall(received);
    if (answer.known === 'result') return answer.frame;
    if (answer.known === 'running') return this.status(received, 'running');
    const { lane, incarnation } = received.session;
    return this.seal(received, encodeReply({ status: 'lane_moved', lane, known: answer.known, incarnation }));
  }

  /** It takes no number any more, and still tells of those that it took. */
  async ended(received: Received): Promise<Uint8Array> {
    const answer = await this.recall(received);
    if (answer.known === 'result') return answer.frame;
    return this.status(received, answer.known === 'running' ? 'running' : 'session_ended');
  }

  /** Whether the frame's number runs, ran, or lies too far back to run: no more work, and another answer than `busy`. */
  async isTaken(received: Received): Promise<boolean> {
    const { known } = await this.recall(received);
    if (known !== 'unknown') return known !== 'never_ran';
    const { session, frame } = received;
    return withinTime(Promise.resolve(this.ledger.isTooOld(session, frame.number)), this.limits.storeTimeout);
  }

  private async recall({ session, frame, digest }: Received): Promise<NumberAnswer> {
    const number: CallNumber = frame.number;
    const [answer] = await withinTime(this.ledger.recall(session, [{ number, digest }]), this.limits.storeTimeout);
    return answer ?? { known: 'unknown' };
  }

  /** What is kept of a result that was live: an ordinary one with the same outcomes; undefined if one held a stream. */
  kept(received: Received, reply: LiveReply): Uint8Array | undefined {
    try {
      const payload = reply.whole();
      return payload && this.seal(received, payload);
    } catch (error) {
      // it ran for longer than the keys of its epoch are kept
      if (error instanceof SealwireError && error.code === 'session_unknown') return undefined;
      throw error;
    }
  }

  refusal(received: Received, kind: Refusal): Uint8Array {
    return this.status(received, STATUS_OF[kind]);
  }

  status(received: Received, status: Status): Uint8Array {
    return this.seal(received, encodeReply({ status }));
  }

  private seal({ session, frame, opened }: Received, reply: Uint8Array): Uint8Array {
    return session.seal(frame, opened.secrets, reply);
  }

  firstResult(received: Received, first: Uint8Array | undefined): Uint8Array {
    return first ? this.seal(received, encodeReply({ first })) : this.status(received, 'result_gone');
  }
}
