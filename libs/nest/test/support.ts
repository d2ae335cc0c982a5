import { request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { INestApplication } from '@nestjs/common';
import {
  type Asked,
  type Call,
  type CallNumber,
  type ClientFinished,
  type ClientHandshakeConfig,
  CONTENT_TYPE,
  decodeReply,
  encodeCalls,
  FIRST_LANE,
  type FinishSent,
  finishHandshake,
  firstHeader,
  generateKeyText,
  type HandshakeSuite,
  hedgedRandom,
  nextEpochSecret,
  openResult,
  parseServerPrivateKey,
  type Reply,
  receiveFinishAnswer,
  receiveStartAnswer,
  type StartAnswered,
  type StartSent,
  sealCall,
  startHandshake,
} from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';

export const primitives = nodePrimitives;
export const suite: HandshakeSuite = { primitives, random: hedgedRandom(primitives) };
export const serverKeyText = generateKeyText('sws1', primitives);
export const serverKey = parseServerPrivateKey(serverKeyText, primitives);
export const secureKeyText = generateKeyText('swk1', primitives);

export interface Answer {
  readonly status: number;
  readonly headers: Record<string, string | string[] | undefined>;
  readonly body: Uint8Array;
  /** of a problem */
  readonly code: string | undefined;
}

export function urlOf(app: INestApplication, path = '/remote/payments'): string {
  return `http://127.0.0.1:${(app.getHttpServer().address() as AddressInfo).port}${path}`;
}

export function post(url: string, body: Uint8Array | string, headers: Record<string, string> = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const all = { 'content-type': CONTENT_TYPE, 'content-length': String(Buffer.byteLength(body)), ...headers };
    const request = httpRequest(url, { method: 'POST', headers: all }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const bytes = new Uint8Array(Buffer.concat(chunks));
        const problem = response.headers['content-type']?.startsWith('application/problem+json');
        const code = problem ? JSON.parse(new TextDecoder().decode(bytes)).code : undefined;
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: bytes, code });
      });
    });
    request.on('error', reject);
    request.end(body);
  });
}

/** A client made of core's role alone: every frame is in the test's hands. */
export class TestClient {
  counter = 0;
  epoch = 0;
  answered!: StartAnswered;
  finishSent!: FinishSent;
  session!: ClientFinished;
  firstKey!: Uint8Array;
  private secrets!: { clientToServer: Uint8Array; serverToClient: Uint8Array };

  constructor(
    readonly url: string,
    readonly config: ClientHandshakeConfig,
  ) {}

  start(): StartSent {
    return startHandshake(suite, this.config);
  }

  async steps1and2(): Promise<StartAnswered> {
    const started = this.start();
    const answer = await post(this.url, started.frame);
    if (answer.code) throw new Error(answer.code);
    this.answered = receiveStartAnswer(started, answer.body);
    return this.answered;
  }

  /** all calls are one message */
  step3(calls: Call[] = [], asked: Asked[] = []): Uint8Array {
    return this.step3Of(calls.length > 0 ? [encodeCalls(calls)] : [], asked);
  }

  step3Of(messages: Uint8Array[], asked: Asked[] = []): Uint8Array {
    this.finishSent = finishHandshake(this.answered, asked, messages);
    // kept longer than any client keeps it
    this.firstKey = this.finishSent.firstKey.slice();
    return this.finishSent.frame;
  }

  /** The reply of the first message where step 4 has it. */
  step4(frame: Uint8Array): Reply | undefined {
    this.session = receiveFinishAnswer(this.finishSent, frame);
    this.secrets = this.session.secrets;
    const [first] = this.session.firstAnswers;
    return first?.known === 'result' ? this.openFirst(first.frame) : undefined;
  }

  /** The result of a first call, from step 4, under the session, or from a renewal. */
  openFirst(result: Uint8Array, index = 0): Reply {
    const { sessionId, digest, firstResults } = this.finishSent;
    const key = { primitives, keySize: this.config.keySize, secret: firstResults };
    return decodeReply(openResult(key, firstHeader(sessionId, digest, index), result));
  }

  async connect(calls: Call[] = [], asked: Asked[] = []): Promise<Reply | undefined> {
    await this.steps1and2();
    const answer = await post(this.url, this.step3(calls, asked));
    if (answer.code) throw new Error(answer.code);
    return this.step4(answer.body);
  }

  /** Asks under the session for the first message at that place of step 3. */
  askFirst(index = 0): Uint8Array {
    return this.seal(new Uint8Array(0), { lane: FIRST_LANE, counter: index });
  }

  next(): CallNumber {
    return { lane: this.session.terms.lane, counter: this.counter++ };
  }

  frame(calls: Call[], number: CallNumber = this.next()): Uint8Array {
    return this.seal(encodeCalls(calls), number);
  }

  seal(payload: Uint8Array, number: CallNumber = this.next()): Uint8Array {
    const { sessionId } = this.session;
    const key = { primitives, keySize: this.config.keySize, secret: this.secrets.clientToServer };
    return sealCall(key, { epoch: this.epoch & 0xff, sessionId, number }, suite.random, payload).frame;
  }

  open(frame: Uint8Array, result: Uint8Array): Reply {
    const key = { primitives, keySize: this.config.keySize, secret: this.secrets.serverToClient };
    return decodeReply(openResult(key, frame.subarray(0, 36), result));
  }

  async send(frame: Uint8Array): Promise<Reply> {
    const answer = await post(this.url, frame);
    if (answer.code) throw new Error(answer.code);
    return this.open(frame, answer.body);
  }

  call(name: string, ...args: unknown[]): Promise<Reply> {
    return this.send(this.frame([{ name, args }]));
  }

  ratchet(): void {
    this.epoch += 1;
    this.secrets = {
      clientToServer: nextEpochSecret(primitives, this.secrets.clientToServer, 'c2s'),
      serverToClient: nextEpochSecret(primitives, this.secrets.serverToClient, 's2c'),
    };
  }
}

/** The one value of a reply, or its error. */
export function only(reply: Reply | undefined): unknown {
  if (!reply || !('outcomes' in reply)) return reply;
  const [outcome] = reply.outcomes;
  return outcome?.ok ? outcome.value : outcome;
}
