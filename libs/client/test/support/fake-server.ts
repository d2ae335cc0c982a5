import {
  type Answered,
  answerFinish,
  answerStart,
  type Call,
  type CallNumber,
  CONTENT_TYPE,
  type CookieKey,
  callIdentity,
  decodeCalls,
  encodeCallNumber,
  encodeReply,
  FIRST_LANE,
  firstHeader,
  formatKeyText,
  frameDigest,
  frameType,
  generateKeyText,
  type HandshakeSuite,
  hedgedRandom,
  type KeyPair,
  type KeySize,
  makeSessionId,
  type NumberAnswer,
  nextEpochSecret,
  OUTER_STATUS,
  type Outcome,
  type OuterCode,
  openCall,
  openCookie,
  openFinish,
  parseCall,
  parseFinish,
  parseSecureKey,
  parseStart,
  proveSession,
  type Renewal,
  type Reply,
  SealwireError,
  type ServerOptions,
  type SessionSecrets,
  sealCookie,
  sealResult,
  serverKeyId,
  toHex,
} from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import type { TransportRequest, TransportResponse } from '../../src/node.js';

const primitives = nodePrimitives;
type FrameKind = ReturnType<typeof frameType>;
const FIRST_CALLS_WAIT = 250;

interface Accepted {
  readonly digest: string;
  /** the result frame, sealed once */
  readonly frame: Promise<Uint8Array>;
  done: Uint8Array | undefined;
}

export interface FakeSession {
  readonly id: Uint8Array;
  readonly keySize: KeySize;
  readonly firstKey: Uint8Array;
  readonly firstResults: Uint8Array;
  secrets: SessionSecrets | undefined;
  lane: number;
  incarnation: Uint8Array;
  epoch: number;
  epochs: { clientToServer: Uint8Array; serverToClient: Uint8Array }[];
  ended: boolean;
  readonly accepted: Map<string, Accepted>;
  /** seals a result for a number whose frame was seen */
  readonly seals: Map<string, (reply: Reply) => Uint8Array>;
}

export interface FakeRun {
  readonly name: string;
  readonly args: readonly unknown[];
  /** identity of the call */
  readonly callId: string;
}

/** The server role of core in memory: honest, with a hook at each place where a test wants another answer. */
export class FakeServer {
  readonly secureKeyText = generateKeyText('swk1', primitives);
  readonly keyPair: KeyPair = primitives.x25519KeyPair(primitives.random(32));
  readonly sessions = new Map<string, FakeSession>();
  readonly runs: FakeRun[] = [];
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
  onCall: (session: FakeSession, number: CallNumber, calls: readonly Call[]) => Reply | OuterCode | undefined = () =>
    undefined;
  /** what the server says of a number that it did not accept */
  onAsked: (session: FakeSession, number: CallNumber) => NumberAnswer | { known: 'result'; reply: Reply } = () => ({
    known: 'never_ran',
  });
  /** whether it proves old sessions as it should */
  proves = true;
  readonly asked: Renewal[] = [];
  readonly #suite: HandshakeSuite = { primitives, random: hedgedRandom(primitives) };
  readonly #cookieKey: CookieKey = { id: primitives.random(4), key: primitives.random(32) };
  readonly #idKey = primitives.random(32);
  #lane = 1000;

  constructor(readonly modulePath = 'payments') {}

  get serverKeyText(): string {
    return formatKeyText('swp1', this.keyPair.publicKey);
  }

  count(kind: FrameKind): number {
    return this.seen.filter((request) => request.kind === kind).length;
  }

  readonly handle = async (request: TransportRequest): Promise<TransportResponse> => {
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
    const known = toHex(start.serverKeyId) === toHex(serverKeyId(this.keyPair.publicKey, primitives));
    const pinned = (start.flags & 1) !== 0;
    if (pinned && !known) throw new SealwireError('handshake_failed');
    const enforced = {
      force: true,
      requirePinned: false,
      requireSecureKey: false,
      minKeySize: 16 as const,
      pins: [],
      incarnation: this.incarnation,
      maxBody: this.maxBody,
      age: this.age,
      maxUpload: this.maxUpload,
      pulse: this.pulse,
    };
    const config = {
      modulePath: this.modulePath,
      serverKey: this.keyPair,
      secureKey: parseSecureKey(this.secureKeyText).secret,
      sessionId: (random: Uint8Array) => makeSessionId(primitives, this.#idKey, this.modulePath, random),
      options: statedLater(enforced, { ...enforced, ...this.statedOptions }),
    };
    return answerStart(this.#suite, config, start, (state) =>
      sealCookie(this.#suite, this.#cookieKey, this.modulePath, { ...state, issued: 0 }),
    );
  }

  async #finish(frame: Uint8Array): Promise<Uint8Array> {
    const finish = parseFinish(frame);
    const state = openCookie(primitives, this.#cookieKey, this.modulePath, finish.cookie);
    const { keySize } = state;
    const opened = openFinish(this.#suite, state, finish);
    const { sessionId: id, firstKey, firstResults } = opened;
    if (this.sessions.has(toHex(id))) throw new Refusal('handshake_used');
    const session: FakeSession = {
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
    session: FakeSession,
    secret: Uint8Array,
    epoch: number,
    callHeader: Uint8Array,
  ): (reply: Reply) => Uint8Array {
    const key = { primitives, keySize: session.keySize, secret };
    return (reply) =>
      sealResult(key, { epoch, callHeader: callHeader.slice() }, this.#suite.random, encodeReply(reply));
  }

  #ratchet(session: FakeSession): void {
    const last = session.epochs[session.epoch]!;
    session.epochs.push({
      clientToServer: nextEpochSecret(primitives, last.clientToServer, 'c2s'),
      serverToClient: nextEpochSecret(primitives, last.serverToClient, 's2c'),
    });
    session.epoch++;
  }

  #accept(
    session: FakeSession,
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

/** Core reads what it enforces first, and everything when it states the options. */
function statedLater(enforced: ServerOptions, stated: ServerOptions): ServerOptions {
  const read = new Set<string | symbol>(['force', 'pins', 'incarnation', 'maxBody', 'age', 'maxUpload', 'pulse']);
  return new Proxy(enforced, {
    get(target, name) {
      const source = read.has(name) ? stated : target;
      read.add(name);
      return Reflect.get(source, name);
    },
  });
}

class Refusal extends Error {
  constructor(readonly outer: OuterCode) {
    super(outer);
  }
}

function sealed(body: Uint8Array): TransportResponse {
  return { status: 200, contentType: CONTENT_TYPE, body };
}

export function refused(code: OuterCode): TransportResponse {
  const status = OUTER_STATUS[code];
  const body = new TextEncoder().encode(JSON.stringify({ type: 'about:blank', title: code, status, code }));
  return { status, contentType: 'application/problem+json', body };
}
