import { setTimeout as sleep } from 'node:timers/promises';
import {
  type Asked,
  type Call,
  type CallNumber,
  type ClientFinished,
  type ClientHandshakeConfig,
  CONTENT_TYPE,
  decodeOutcome,
  decodeReply,
  encodeCalls,
  FIRST_LANE,
  type FinishSent,
  finishHandshake,
  firstHeader,
  type HandshakeSuite,
  hedgedRandom,
  isLive,
  LIMITS,
  type MessageKey,
  nextEpochSecret,
  type Outcome,
  openResult,
  parseSecureKey,
  parseServerPublicKey,
  type Reply,
  receiveFinishAnswer,
  receiveStartAnswer,
  runSync,
  type SessionSecrets,
  SIZE,
  type StartAnswered,
  type StartSent,
  sealCall,
  startHandshake,
  toHex,
} from '@sealwire/core';
import { decodeResult, openLiveResult, UNIT, UnitReader } from '@sealwire/core/live';
import { nodePrimitives as primitives } from '@sealwire/core/node';
import { post } from './http.js';

export interface OpenOptions {
  /** of the server, or of a proxy in front of several */
  url: string;
  module: string;
  /** `swp1...` */
  serverKey?: string;
  /** `swk1...` */
  secureKey?: string;
  /** where step 3 goes, if not where step 1 went */
  finishUrl?: string;
}

/** A call with the keys of its epoch, so that its result opens whatever the peer did since. */
export interface SealedCall {
  readonly frame: Uint8Array;
  readonly header: Uint8Array;
  readonly number: CallNumber;
  readonly epoch: number;
  readonly secrets: Pick<SessionSecrets, 'clientToServer' | 'serverToClient'>;
}

export type Delivered =
  | { readonly kind: 'sealed'; readonly reply: Reply }
  /** unsealed: HTTP status and the code of the problem document */
  | { readonly kind: 'outer'; readonly status: number; readonly code: string }
  /** no answer at all */
  | { readonly kind: 'none' };

const suite: HandshakeSuite = { primitives, random: hedgedRandom(primitives) };

/**
 * The client's role over core's functions, without any of the client's care: a test decides which frame is sent, with which
 * number, when, where and how often.
 */
export class PeerClient {
  counter = 0;
  epoch = 0;
  lane = 0;
  answered!: StartAnswered;
  finishSent!: FinishSent;
  session!: ClientFinished;
  secrets!: SessionSecrets;
  /** K_first, kept longer than any client keeps it */
  firstKey!: Uint8Array;

  /** @param url of the module */
  constructor(
    readonly url: string,
    readonly config: ClientHandshakeConfig,
  ) {}

  /** All four steps. */
  static async open({ url, module, serverKey, secureKey, finishUrl = url }: OpenOptions): Promise<PeerClient> {
    const client = new PeerClient(`${url}/remote/${module}`, {
      modulePath: module,
      keySize: 32,
      serverKey: serverKey ? parseServerPublicKey(serverKey) : undefined,
      secureKey: secureKey ? parseSecureKey(secureKey) : undefined,
    });
    await client.connect([], [], client.at(finishUrl));
    return client;
  }

  get id(): string {
    return toHex(this.session.sessionId);
  }

  start(): StartSent {
    return runSync(startHandshake(suite, this.config));
  }

  async steps1and2(): Promise<StartAnswered> {
    const started = this.start();
    this.answered = runSync(receiveStartAnswer(started, await postFrame(this.url, started.frame)));
    return this.answered;
  }

  /** all calls are one message */
  step3(calls: Call[] = [], asked: Asked[] = []): Uint8Array {
    return this.step3Of(calls.length > 0 ? [encodeCalls(calls)] : [], asked);
  }

  step3Of(messages: Uint8Array[], asked: Asked[] = []): Uint8Array {
    this.finishSent = runSync(finishHandshake(this.answered, asked, messages));
    this.firstKey = this.finishSent.firstKey.slice();
    return this.finishSent.frame;
  }

  /** The reply of the first message where step 4 has it. */
  step4(frame: Uint8Array): Reply | undefined {
    this.session = runSync(receiveFinishAnswer(this.finishSent, frame));
    this.secrets = this.session.secrets;
    this.lane = this.session.terms.lane;
    const [first] = this.session.firstAnswers;
    return first?.known === 'result' ? this.openFirst(first.frame) : undefined;
  }

  /** The result of a first call, from step 4, under the session, or from a renewal. */
  openFirst(result: Uint8Array, index = 0): Reply {
    const { sessionId, digest, firstResults } = this.finishSent;
    const key = { primitives, keySize: this.config.keySize, secret: firstResults };
    return decodeResult(runSync(openResult(key, firstHeader(sessionId, digest, index), result)));
  }

  async connect(calls: Call[] = [], asked: Asked[] = [], finishUrl = this.url): Promise<Reply | undefined> {
    await this.steps1and2();
    return this.step4(await postFrame(finishUrl, this.step3(calls, asked)));
  }

  /** Asks under the session for the first message at that place of step 3. */
  askFirst(index = 0): Uint8Array {
    return this.sealAs(new Uint8Array(0), { lane: FIRST_LANE, counter: index }).frame;
  }

  next(): CallNumber {
    return { lane: this.lane, counter: this.counter++ };
  }

  frame(calls: Call[], number: CallNumber = this.next()): Uint8Array {
    return this.sealAs(encodeCalls(calls), number).frame;
  }

  /** Every message has the next number of the lane. */
  seal(...calls: Call[]): SealedCall {
    return this.sealAs(encodeCalls(calls));
  }

  /** @param payload anything, also what encodes no calls */
  sealAs(payload: Uint8Array, number: CallNumber = this.next()): SealedCall {
    const { secrets } = this;
    const { sessionId } = this.session;
    const epoch = this.epoch & 0xff;
    const key = { primitives, keySize: this.config.keySize, secret: secrets.clientToServer };
    const sealed = runSync(sealCall(key, { epoch, sessionId, number }, suite.random, payload));
    return { ...sealed, number, epoch, secrets };
  }

  /** @param secrets of the epoch of the call */
  open(frame: Uint8Array, result: Uint8Array, secrets: Pick<SessionSecrets, 'serverToClient'> = this.secrets): Reply {
    const key = { primitives, keySize: this.config.keySize, secret: secrets.serverToClient };
    const header = frame.subarray(0, SIZE.callHeader);
    return isLive(result) ? liveReply(key, header, result) : decodeResult(runSync(openResult(key, header, result)));
  }

  /** @throws Error with the code of an unsealed answer */
  async send(frame: Uint8Array): Promise<Reply> {
    return this.open(frame, await postFrame(this.url, frame));
  }

  call(name: string, ...args: unknown[]): Promise<Reply> {
    return this.send(this.frame([{ name, args }]));
  }

  /** Sends the frame once and says what came. @param server another one than the session was opened at */
  async deliver(sealed: SealedCall, server?: string, module?: string): Promise<Delivered> {
    const answer = await post(this.at(server, module), sealed.frame).catch(() => undefined);
    if (!answer) return { kind: 'none' };
    const { status, code = '', headers, body } = answer;
    if (headers['content-type'] !== CONTENT_TYPE) return { kind: 'outer', status, code };
    return { kind: 'sealed', reply: this.open(sealed.frame, body, sealed.secrets) };
  }

  /** Sends the same bytes until their fate is settled: `running` and `busy` only mean to try again. */
  async settle(sealed: SealedCall, server?: string, milliseconds = 30_000, module?: string): Promise<Delivered> {
    const end = performance.now() + milliseconds;
    for (;;) {
      const answer = await this.deliver(sealed, server, module);
      const again =
        answer.kind === 'none' || (answer.kind === 'outer' ? answer.status >= 500 : isPending(answer.reply));
      if (!again || performance.now() > end) return answer;
      await sleep(20);
    }
  }

  /** Settles one call and answers what its function returned. */
  async value(name: string, ...args: unknown[]): Promise<unknown> {
    const answer = await this.settle(this.seal({ name, args }));
    if (answer.kind === 'sealed' && 'outcomes' in answer.reply) {
      const [outcome] = answer.reply.outcomes;
      if (outcome?.ok) return outcome.value;
    }
    throw new Error(JSON.stringify(answer));
  }

  /** Goes on in the next epoch, as a client does after 15 minutes. */
  ratchet(): void {
    const next = (direction: 'c2s' | 's2c', secret: Uint8Array) => nextEpochSecret(primitives, secret, direction);
    this.secrets = {
      ...this.secrets,
      clientToServer: next('c2s', this.secrets.clientToServer),
      serverToClient: next('s2c', this.secrets.serverToClient),
    };
    this.epoch++;
  }

  /** Numbers start anew in the lane that the server says. */
  moveTo(lane: number): void {
    this.lane = lane;
    this.counter = 0;
  }

  private at(server?: string, module = this.config.modulePath): string {
    return server === undefined && module === this.config.modulePath
      ? this.url
      : `${server ?? new URL(this.url).origin}/remote/${module}`;
  }
}

/** The one value of a reply, or its error. */
export function only(reply: Reply | undefined): unknown {
  if (!reply || !('outcomes' in reply)) return reply;
  const [outcome] = reply.outcomes;
  return outcome?.ok ? outcome.value : outcome;
}

function isPending(reply: Reply): boolean {
  return 'status' in reply && (reply.status === 'running' || reply.status === 'busy');
}

/** The frame that answers a frame. @throws Error with the code of an unsealed answer */
async function postFrame(url: string, frame: Uint8Array): Promise<Uint8Array> {
  const { status, code, headers, body } = await post(url, frame);
  if (code) throw new Error(code);
  if (headers['content-type'] !== CONTENT_TYPE) throw new Error(`${status} instead of a frame`);
  return body;
}

/** The outcomes of a live result without streams: calls of one message that are not ready at the same time. */
function liveReply(key: MessageKey, header: Uint8Array, result: Uint8Array): Reply {
  const opener = openLiveResult(key, header, result);
  const reader = new UnitReader('result', result.length, LIMITS.batch);
  const outcomes: Outcome[] = [];
  for (const body of runSync(opener.push(result.subarray(SIZE.resultHeader)))) {
    for (const { kind, stream, bytes } of reader.push(body)) {
      if (kind === UNIT.status) return decodeReply(bytes);
      if (kind === UNIT.outcome) outcomes[stream] = decodeOutcome(bytes);
    }
  }
  opener.end();
  return { outcomes };
}
