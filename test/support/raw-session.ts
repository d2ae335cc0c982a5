import { setTimeout as sleep } from 'node:timers/promises';
import {
  type Asked,
  type Call,
  type CallNumber,
  CONTENT_TYPE,
  decodeReply,
  encodeCalls,
  FIRST_LANE,
  finishHandshake,
  firstHeader,
  frameDigest,
  frameType,
  hedgedRandom,
  type KeySize,
  type NumberAnswer,
  nextEpochSecret,
  openResult,
  parseSecureKey,
  parseServerPublicKey,
  type Reply,
  receiveFinishAnswer,
  receiveStartAnswer,
  type SessionSecrets,
  type SessionTerms,
  sealCall,
  startHandshake,
  toHex,
} from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';

export interface RawOptions {
  /** of the server, or of a proxy in front of several */
  url: string;
  module: string;
  /** `swp1...` */
  serverKey?: string;
  /** `swk1...` */
  secureKey?: string;
  /** where step 3 goes, if not where step 1 went */
  finishUrl?: string;
  /** old sessions that step 3 names */
  asked?: readonly Asked[];
  /** each a message of its own */
  firstCalls?: readonly (readonly Call[])[];
}

export interface SealedCall {
  readonly frame: Uint8Array;
  readonly header: Uint8Array;
  readonly number: CallNumber;
  readonly epoch: number;
  readonly secrets: Pick<SessionSecrets, 'clientToServer' | 'serverToClient'>;
}

export type RawAnswer =
  | { readonly kind: 'sealed'; readonly reply: Reply }
  /** unsealed: HTTP status and the code of the problem document */
  | { readonly kind: 'outer'; readonly status: number; readonly code: string }
  /** no answer at all */
  | { readonly kind: 'none' };

const suite = { primitives: nodePrimitives, random: hedgedRandom(nodePrimitives) };
const keySize: KeySize = 32;

/** The client's half of the protocol without any of the client's care: a test decides what is sent, when and how often. */
export class RawSession {
  epoch = 0;
  private counter = 0;

  private constructor(
    private readonly options: RawOptions,
    readonly sessionId: Uint8Array,
    public secrets: SessionSecrets,
    readonly terms: SessionTerms,
    /** K_first, kept longer than any client keeps it */
    readonly firstKey: Uint8Array,
    readonly first: { readonly digest: Uint8Array; readonly results: Uint8Array; readonly answers: NumberAnswer[] },
    readonly renewalAnswers: NumberAnswer[][],
    public lane = terms.lane,
  ) {}

  static async open(options: RawOptions): Promise<RawSession> {
    const start = startHandshake(suite, {
      modulePath: options.module,
      keySize,
      serverKey: options.serverKey ? parseServerPublicKey(options.serverKey) : undefined,
      secureKey: options.secureKey ? parseSecureKey(options.secureKey) : undefined,
    });
    const startAnswer = await post(options.url, options.module, start.frame);
    const answered = receiveStartAnswer(start, expectFrame(startAnswer, 'startAnswer'));
    const finish = finishHandshake(
      answered,
      options.asked ?? [],
      (options.firstCalls ?? []).map((calls) => encodeCalls(calls)),
    );
    const finishAnswer = await post(options.finishUrl ?? options.url, options.module, finish.frame);
    const firstKey = finish.firstKey.slice();
    const finished = receiveFinishAnswer(finish, expectFrame(finishAnswer, 'finishAnswer'));
    const { sessionId, secrets, terms, firstAnswers, renewalAnswers } = finished;
    const first = { digest: finish.digest, results: finish.firstResults, answers: firstAnswers };
    return new RawSession(options, sessionId, secrets, terms, firstKey, first, renewalAnswers);
  }

  get id(): string {
    return toHex(this.sessionId);
  }

  /** Every call has the next number of the lane. */
  seal(...calls: Call[]): SealedCall {
    return this.sealAs({ lane: this.lane, counter: this.counter++ }, encodeCalls(calls));
  }

  /** A frame that asks for the result of the first calls at that place. */
  sealAsk(index: number): SealedCall {
    return this.sealAs({ lane: FIRST_LANE, counter: index }, new Uint8Array());
  }

  private sealAs(number: CallNumber, body: Uint8Array): SealedCall {
    const { secrets, epoch, sessionId } = this;
    const key = { primitives: nodePrimitives, keySize, secret: secrets.clientToServer };
    return { ...sealCall(key, { epoch, sessionId, number }, suite.random, body), number, epoch, secrets };
  }

  /** Opens the result frame of first calls, out of step 4 or out of the answer to {@link sealAsk}. */
  openFirst(index: number, frame: Uint8Array): Reply {
    const key = { primitives: nodePrimitives, keySize, secret: this.first.results };
    return decodeReply(openResult(key, firstHeader(this.sessionId, this.first.digest, index), frame));
  }

  /** This session as the next one's step 3 names it. */
  asAsked(...sent: readonly SealedCall[]): Asked {
    const numbers = sent.map(({ number, frame }) => ({ number, digest: frameDigest(nodePrimitives, frame) }));
    return { sessionId: this.sessionId, key: this.secrets.renewal, numbers };
  }

  async send(sealed: SealedCall, url = this.options.url, module = this.options.module): Promise<RawAnswer> {
    const answer = await post(url, module, sealed.frame).catch(() => undefined);
    if (!answer) return { kind: 'none' };
    if (answer.contentType !== CONTENT_TYPE) return { kind: 'outer', status: answer.status, code: codeOf(answer.body) };
    const key = { primitives: nodePrimitives, keySize, secret: sealed.secrets.serverToClient };
    return { kind: 'sealed', reply: decodeReply(openResult(key, sealed.header, answer.body)) };
  }

  /** Sends the same bytes until their fate is settled: `running` and `busy` only mean to try again. */
  async settle(
    sealed: SealedCall,
    url = this.options.url,
    milliseconds = 30_000,
    module = this.options.module,
  ): Promise<RawAnswer> {
    const end = performance.now() + milliseconds;
    for (;;) {
      const answer = await this.send(sealed, url, module);
      const again =
        answer.kind === 'none' || (answer.kind === 'outer' ? answer.status >= 500 : isPending(answer.reply));
      if (!again || performance.now() > end) return answer;
      await sleep(20);
    }
  }

  /** Seals and sends one call and answers what its function returned. */
  async call(name: string, ...args: unknown[]): Promise<unknown> {
    const answer = await this.settle(this.seal({ name, args }));
    if (answer.kind === 'sealed' && 'outcomes' in answer.reply) {
      const [outcome] = answer.reply.outcomes;
      if (outcome?.ok) return outcome.value;
    }
    throw new Error(JSON.stringify(answer));
  }

  /** Goes on in the next epoch, as a client does after 15 minutes. */
  ratchet(): void {
    const next = (direction: 'c2s' | 's2c', secret: Uint8Array) => nextEpochSecret(nodePrimitives, secret, direction);
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
}

function isPending(reply: Reply): boolean {
  return 'status' in reply && (reply.status === 'running' || reply.status === 'busy');
}

interface HttpAnswer {
  status: number;
  contentType: string;
  body: Uint8Array;
}

async function post(url: string, module: string, body: Uint8Array): Promise<HttpAnswer> {
  const response = await fetch(`${url}/remote/${module}`, {
    method: 'POST',
    headers: { 'content-type': CONTENT_TYPE },
    body: Buffer.from(body),
  });
  const contentType = response.headers.get('content-type') ?? '';
  return { status: response.status, contentType, body: new Uint8Array(await response.arrayBuffer()) };
}

function expectFrame(answer: HttpAnswer, type: ReturnType<typeof frameType>): Uint8Array {
  if (answer.status === 200 && frameType(answer.body) === type) return answer.body;
  throw new Error(`${answer.status} ${codeOf(answer.body)} instead of a ${type}`);
}

function codeOf(body: Uint8Array): string {
  try {
    return JSON.parse(new TextDecoder().decode(body)).code;
  } catch {
    return '';
  }
}
