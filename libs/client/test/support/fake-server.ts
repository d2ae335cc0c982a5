import {
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
  FIRST_CALLS,
  formatKeyText,
  frameDigest,
  frameType,
  generateKeyText,
  type HandshakeSuite,
  hedgedRandom,
  type KeyPair,
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
  type RenewalAnswer,
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

export interface FakeSession {
  readonly id: Uint8Array;
  readonly firstKey: Uint8Array;
  secrets: SessionSecrets | undefined;
  lane: number;
  incarnation: Uint8Array;
  epoch: number;
  epochs: { clientToServer: Uint8Array; serverToClient: Uint8Array }[];
  ended: boolean;
  readonly accepted: Map<string, { digest: string; reply: Promise<Uint8Array> }>;
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
  /** stated under seal in step 2, but not enforced */
  statedOptions: Partial<ServerOptions> = {};
  /** answers a call frame instead of running it */
  onCall: (session: FakeSession, number: CallNumber, calls: readonly Call[]) => Reply | OuterCode | undefined = () =>
    undefined;
  /** what the server says of a number that it did not accept */
  onAsked: (session: FakeSession, number: CallNumber) => RenewalAnswer = () => ({ known: 'never_ran' });
  readonly asked: Renewal[] = [];
  readonly #suite: HandshakeSuite = { primitives, random: hedgedRandom(primitives) };
  readonly #cookieKey: CookieKey = { id: primitives.random(4), key: primitives.random(32) };
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

  /** As after a restart: the next lane, nothing in memory. */
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
    };
    const secureKey = parseSecureKey(this.secureKeyText).secret;
    const config = { modulePath: this.modulePath, serverKey: this.keyPair, secureKey };
    const options = statedLater(enforced, { ...enforced, ...this.statedOptions });
    return answerStart(this.#suite, { ...config, options }, start, (state) =>
      sealCookie(this.#suite, this.#cookieKey, this.modulePath, { ...state, issued: 0 }),
    );
  }

  async #finish(frame: Uint8Array): Promise<Uint8Array> {
    const finish = parseFinish(frame);
    const state = openCookie(primitives, this.#cookieKey, this.modulePath, finish.cookie);
    const opened = openFinish(this.#suite, state, finish);
    const key = toHex(opened.sessionId);
    if (this.sessions.has(key)) throw new Refusal('handshake_used');
    const session: FakeSession = {
      id: opened.sessionId,
      firstKey: opened.firstKey,
      secrets: undefined,
      lane: ++this.#lane,
      incarnation: this.incarnation,
      epoch: 0,
      epochs: [],
      ended: false,
      accepted: new Map(),
    };
    this.sessions.set(key, session);
    const answers = await Promise.all(opened.renewals.map((renewal) => this.#reconcile(renewal, opened.provenOver)));
    let reply: Uint8Array<ArrayBufferLike> = new Uint8Array(0);
    if (opened.firstCalls.length > 0) {
      reply = await this.#accept(session, FIRST_CALLS, frame, decodeCalls(opened.firstCalls), opened.firstKey);
    }
    const terms = { lane: session.lane, idle: this.idle, lifetime: 43_200, incarnation: session.incarnation };
    const answer = answerFinish(opened, terms, answers, reply);
    session.secrets = answer.secrets;
    session.epochs = [answer.secrets];
    return answer.frame;
  }

  async #reconcile(renewal: Renewal, provenOver: Uint8Array): Promise<RenewalAnswer[]> {
    this.asked.push(renewal);
    const session = this.sessions.get(toHex(renewal.sessionId));
    const proves = (key: Uint8Array | undefined) =>
      key !== undefined && primitives.equal(proveSession(primitives, key, provenOver), renewal.proof);
    if (!session || !(proves(session.secrets?.renewal) || proves(session.firstKey))) {
      return renewal.numbers.map(() => ({ known: 'unknown' }));
    }
    session.ended = true;
    return Promise.all(
      renewal.numbers.map(async ({ number, digest }): Promise<RenewalAnswer> => {
        const scripted = this.onAsked(session, number);
        const found = session.accepted.get(toHex(encodeCallNumber(number)));
        if (scripted.known !== 'never_ran' || found?.digest !== toHex(digest)) return scripted;
        return { known: 'result', reply: await found.reply };
      }),
    );
  }

  async #call(frame: Uint8Array): Promise<Uint8Array> {
    const parsed = parseCall(frame);
    const session = this.sessions.get(toHex(parsed.sessionId));
    if (!session?.secrets) throw new Refusal('session_unknown');
    if (parsed.epoch === ((session.epoch + 1) & 0xff)) this.#ratchet(session);
    const back = (session.epoch - parsed.epoch) & 0xff;
    const keys = session.epochs[session.epoch - back];
    if (!keys) throw new Refusal('bad_frame');
    const calls = decodeCalls(openCall({ primitives, keySize: 32, secret: keys.clientToServer }, parsed));
    const scripted = this.onCall(session, parsed.number, calls);
    if (typeof scripted === 'string') throw new Refusal(scripted);
    const body = scripted
      ? encodeReply(scripted)
      : session.ended
        ? encodeReply({ status: 'session_ended' })
        : parsed.number.lane < session.lane
          ? encodeReply({
              status: 'lane_moved',
              lane: session.lane,
              known: 'unknown',
              incarnation: session.incarnation,
            })
          : await this.#accept(session, parsed.number, frame, calls, session.secrets.renewal);
    const salt = primitives.random(8);
    const result = { epoch: parsed.epoch, callHeader: parsed.header, salt };
    return sealResult({ primitives, keySize: 32, secret: keys.serverToClient }, result, body);
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
    frame: Uint8Array,
    calls: Call[],
    key: Uint8Array,
  ): Promise<Uint8Array> {
    const name = toHex(encodeCallNumber(number));
    const bytes = frameDigest(primitives, frame);
    const digest = toHex(bytes);
    const found = session.accepted.get(name);
    if (found && found.digest !== digest) return Promise.resolve(encodeReply({ status: 'number_conflict' }));
    if (found) return found.reply;
    const identity = (i: number) => toHex(callIdentity(primitives, key, { number, digest: bytes }, i));
    const reply = this.#run(calls, identity).then(encodeReply);
    session.accepted.set(name, { digest, reply });
    return reply;
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

/** Core reads the options twice: first to enforce them, then to state them. */
function statedLater(enforced: ServerOptions, stated: ServerOptions): ServerOptions {
  const read = new Set<string | symbol>(['force', 'pins']);
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
