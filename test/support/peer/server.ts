import {
  type Answered,
  answerFinish,
  type Call,
  type CallNumber,
  CONTENT_TYPE,
  callIdentity,
  concat,
  decodeCalls,
  encodeCallNumber,
  encodeReply,
  FIRST_LANE,
  firstHeader,
  formatKeyText,
  frameDigest,
  frameType,
  type NumberAnswer,
  nextEpochSecret,
  type Outcome,
  type OuterCode,
  openCall,
  parseCall,
  parseStart,
  proveSession,
  type Renewal,
  type Reply,
  SealwireError,
  type ServerOptions,
  sealResult,
  serverKeyId,
  toHex,
} from '@sealwire/core';
import { completeReference } from '@sealwire/core/live';
import { nodePrimitives as primitives } from '@sealwire/core/node';
import { type PeerRequest, type PeerResponse, Refusal, refused, sealed } from './answers.js';
import { serverHandshake, statedLater } from './handshake.js';
import type { Accepted, PeerRun, PeerSession } from './session.js';

export { refused } from './answers.js';
export type { PeerSession } from './session.js';

export type FrameKind = ReturnType<typeof frameType>;
const FIRST_CALLS_WAIT = 250;

/** The server's role over core's functions, in memory: honest, with a hook at each place where a test wants another answer. */
export class PeerServer {
  readonly sessions = new Map<string, PeerSession>();
  readonly runs: PeerRun[] = [];
  readonly seen: { kind: FrameKind; frame: Uint8Array; contentType: string }[] = [];
  functions: Record<string, (...args: never[]) => unknown> = {
    echo: (value: unknown) => value,
    add: (a: number, b: number) => a + b,
    fail: () => {
      throw new SealwireError('policy', 'funds are short');
    },
  };
  idempotent = new Set<string>();
  incarnation = new Uint8Array(8).fill(7);
  idle = 1800;
  lifetime = 43_200;
  maxBody = 4_194_304;
  age = 0;
  maxUpload = 0;
  pulse = 0;
  /** stated under seal in step 2, but not enforced */
  statedOptions: Partial<ServerOptions> = {};
  /** answers a call frame instead of running it */
  onCall: (session: PeerSession, number: CallNumber, calls: readonly Call[]) => Reply | OuterCode | undefined = () =>
    undefined;
  /** what the server says of a number that it did not accept */
  onAsked: (session: PeerSession, number: CallNumber) => NumberAnswer | { known: 'result'; reply: Reply } = () => ({
    known: 'never_ran',
  });
  /** whether it proves old sessions as it should */
  proves = true;
  readonly asked: Renewal[] = [];
  readonly #handshake: ReturnType<typeof serverHandshake>;
  readonly serverKeyText: string;
  readonly secureKeyText: string;
  #lane = 1000;

  constructor(modulePath = 'payments') {
    this.#handshake = serverHandshake(modulePath, this.#options(), primitives);
    const { serverKey, secureKey } = this.#handshake;
    this.serverKeyText = formatKeyText('swp1', serverKey.publicKey);
    this.secureKeyText = formatKeyText('swk1', concat(secureKey.keyId, secureKey.secret));
  }

  count(kind: FrameKind): number {
    return this.seen.filter((request) => request.kind === kind).length;
  }

  readonly handle = async (request: PeerRequest): Promise<PeerResponse> => {
    const kind = request.contentType === CONTENT_TYPE ? frameType(request.body) : undefined;
    this.seen.push({ kind, frame: request.body, contentType: request.contentType });
    try {
      if (request.body.length > this.maxBody) return refused('too_large');
      if (request.contentType === 'application/cbor') {
        const reply = await this.#run(decodeCalls(request.body), () => '');
        return { status: 200, contentType: 'application/cbor', body: encodeReply(reply) };
      }
      if (kind === 'start') return sealed(this.#start(request.body));
      if (kind === 'finish') return sealed(await this.#finish(request.body));
      if (kind === 'call') return sealed(await this.#call(request.body));
      return refused('bad_frame');
    } catch (error) {
      if (error instanceof Refusal) return refused(error.outer);
      return refused(kind === 'call' ? 'bad_frame' : 'handshake_failed');
    }
  };

  /** As after a restart with a store: the next lane, no results in memory. */
  openLane(): void {
    for (const session of this.sessions.values()) {
      session.lane = ++this.#lane;
      session.incarnation = this.incarnation;
    }
  }

  #start(frame: Uint8Array): Uint8Array {
    const start = parseStart(frame);
    const known = toHex(start.serverKeyId) === toHex(serverKeyId(this.#handshake.serverKey.publicKey, primitives));
    const pinned = (start.flags & 1) !== 0;
    if (pinned && !known) throw new SealwireError('handshake_failed');
    const enforced = this.#options();
    return this.#handshake.answer1(frame, {
      options: statedLater(enforced, { ...enforced, ...this.statedOptions }),
    });
  }

  #options(): ServerOptions {
    return {
      force: true,
      requirePinned: false,
      requireSecureKey: false,
      minKeySize: 16,
      pins: [],
      incarnation: this.incarnation,
      maxBody: this.maxBody,
      age: this.age,
      maxUpload: this.maxUpload,
      pulse: this.pulse,
    };
  }

  async #finish(frame: Uint8Array): Promise<Uint8Array> {
    const opened = this.#handshake.open3(frame);
    const { sessionId: id, firstKey, firstResults, keySize } = opened;
    if (this.sessions.has(toHex(id))) throw new Refusal('handshake_used');
    const session: PeerSession = {
      ...{ id, keySize, firstKey: firstKey.slice(), firstResults: firstResults.slice() },
      secrets: undefined,
      lane: ++this.#lane,
      incarnation: this.incarnation,
      epoch: 0,
      epochs: [],
      ended: false,
      accepted: new Map(),
      seals: new Map(),
    };
    this.sessions.set(toHex(id), session);
    const answers = opened.renewals.map((renewal) => this.#reconcile(renewal, opened.provenOver));
    const digest = frameDigest(primitives, frame);
    const first = opened.firstCalls.map((payload, counter): Promise<NumberAnswer> => {
      const seal = this.#sealer(session, session.firstResults, 0, firstHeader(id, digest, counter));
      const number = { lane: FIRST_LANE, counter };
      const result = this.#accept(session, number, digest, decodeCalls(payload), session.firstKey, seal);
      const later = new Promise<NumberAnswer>((resolve) => {
        setTimeout(resolve, FIRST_CALLS_WAIT, { known: 'running' });
      });
      return Promise.race([
        result.then((sealedFrame): NumberAnswer => ({ known: 'result', frame: sealedFrame })),
        later,
      ]);
    });
    const { idle, lifetime } = this;
    const terms = { lane: session.lane, idle, lifetime, incarnation: session.incarnation };
    const answer = answerFinish(opened, terms, answers, await Promise.all(first));
    session.secrets = answer.secrets;
    session.epochs = [answer.secrets];
    return answer.frame;
  }

  #reconcile(renewal: Renewal, provenOver: Uint8Array): Answered {
    this.asked.push(renewal);
    const session = this.sessions.get(toHex(renewal.sessionId));
    const key = [session?.secrets?.renewal, session?.firstKey].find(
      (k) => k !== undefined && primitives.equal(proveSession(primitives, k, provenOver), renewal.proof),
    );
    if (!session || !key) return { key: undefined, answers: renewal.numbers.map(() => ({ known: 'unknown' })) };
    session.ended = true;
    const answers = renewal.numbers.map(({ number, digest }): NumberAnswer => {
      const scripted = this.onAsked(session, number);
      const name = toHex(encodeCallNumber(number));
      const found = session.accepted.get(name);
      if ('reply' in scripted) return { known: 'result', frame: session.seals.get(name)!(scripted.reply) };
      if (scripted.known !== 'never_ran' || found?.digest !== toHex(digest)) return scripted;
      return found.done ? { known: 'result', frame: found.done } : { known: 'running' };
    });
    return { key: this.proves ? key : new Uint8Array(32), answers };
  }

  async #call(frame: Uint8Array): Promise<Uint8Array> {
    const parsed = parseCall(frame);
    const session = this.sessions.get(toHex(parsed.sessionId));
    if (!session?.secrets) throw new Refusal('session_unknown');
    if (parsed.epoch === ((session.epoch + 1) & 0xff)) this.#ratchet(session);
    const back = (session.epoch - parsed.epoch) & 0xff;
    const keys = session.epochs[session.epoch - back];
    if (!keys) throw new Refusal('session_unknown');
    const { keySize } = session;
    const { number } = parsed;
    const body = openCall({ primitives, keySize, secret: keys.clientToServer }, parsed);
    const seal = this.#sealer(session, keys.serverToClient, parsed.epoch, parsed.header);
    session.seals.set(toHex(encodeCallNumber(number)), seal);
    const calls = number.lane === FIRST_LANE ? [] : decodeCalls(body);
    const scripted = this.onCall(session, number, calls);
    if (typeof scripted === 'string') throw new Refusal(scripted);
    if (scripted) return seal(scripted);
    if (number.lane === FIRST_LANE) {
      const found = session.accepted.get(toHex(encodeCallNumber(number)));
      return seal(found ? { first: await found.frame } : { status: 'outcome_unknown' });
    }
    if (session.ended) return seal({ status: 'session_ended' });
    if (number.lane < session.lane) {
      const { lane, incarnation } = session;
      return seal({ status: 'lane_moved', lane, known: 'unknown', incarnation });
    }
    const found = session.accepted.get(toHex(encodeCallNumber(number)));
    const digest = frameDigest(primitives, frame);
    if (found && found.digest !== toHex(digest)) return seal({ status: 'number_conflict' });
    return found ? found.frame : this.#accept(session, number, digest, calls, session.secrets.renewal, seal);
  }

  #sealer(
    session: PeerSession,
    secret: Uint8Array,
    epoch: number,
    callHeader: Uint8Array,
  ): (reply: Reply) => Uint8Array {
    const key = { primitives, keySize: session.keySize, secret };
    return (reply) => {
      const payload = encodeReply(reply, undefined, { replace: completeReference });
      return sealResult(key, { epoch, callHeader: callHeader.slice() }, this.#handshake.server.random, payload);
    };
  }

  #ratchet(session: PeerSession): void {
    const last = session.epochs[session.epoch]!;
    session.epochs.push({
      clientToServer: nextEpochSecret(primitives, last.clientToServer, 'c2s'),
      serverToClient: nextEpochSecret(primitives, last.serverToClient, 's2c'),
    });
    session.epoch++;
  }

  #accept(
    session: PeerSession,
    number: CallNumber,
    digest: Uint8Array,
    calls: Call[],
    key: Uint8Array,
    seal: (reply: Reply) => Uint8Array,
  ): Promise<Uint8Array> {
    const identity = (i: number) => toHex(callIdentity(primitives, key, { number, digest }, i));
    const frame = this.#run(calls, identity).then(seal);
    const accepted: Accepted = { digest: toHex(digest), frame, done: undefined };
    void frame.then((bytes) => {
      accepted.done = bytes;
    });
    session.accepted.set(toHex(encodeCallNumber(number)), accepted);
    return frame;
  }

  async #run(calls: readonly Call[], identity: (index: number) => string): Promise<Reply> {
    const outcomes = await Promise.all(
      calls.map(async ({ name, args, resend }, i): Promise<Outcome> => {
        const callId = resend ? toHex(resend.callId) : identity(i);
        if (resend && !this.idempotent.has(name)) return { ok: false, code: 'outcome_unknown', message: '' };
        const run = this.functions[name];
        if (!run) return { ok: false, code: 'function_unknown', message: `There is no function ${name}.` };
        this.runs.push({ name, args, callId });
        try {
          return { ok: true, value: await run(...(args as never[])) };
        } catch (error) {
          const {
            code = 'internal',
            message,
            details,
          } = error as { code?: string; message: string; details?: unknown };
          return { ok: false, code, message, details };
        }
      }),
    );
    return { outcomes };
  }
}
