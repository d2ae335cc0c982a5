import { request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { INestApplication } from '@nestjs/common';
import {
  type Call,
  type CallNumber,
  type ClientFinished,
  type ClientHandshakeConfig,
  CONTENT_TYPE,
  decodeReply,
  encodeCalls,
  type FinishSent,
  finishHandshake,
  generateKeyText,
  type HandshakeSuite,
  hedgedRandom,
  nextEpochSecret,
  openResult,
  parseServerPrivateKey,
  type Renewal,
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

  step3(calls: Call[] = [], renewals: Renewal[] = []): Uint8Array {
    this.finishSent = finishHandshake(
      this.answered,
      renewals,
      calls.length > 0 ? encodeCalls(calls) : new Uint8Array(0),
    );
    return this.finishSent.frame;
  }

  step4(frame: Uint8Array): Reply | undefined {
    this.session = receiveFinishAnswer(this.finishSent, frame);
    this.secrets = this.session.secrets;
    return this.session.firstReply.length > 0 ? decodeReply(this.session.firstReply) : undefined;
  }

  async connect(calls: Call[] = [], renewals: Renewal[] = []): Promise<Reply | undefined> {
    await this.steps1and2();
    const answer = await post(this.url, this.step3(calls, renewals));
    if (answer.code) throw new Error(answer.code);
    return this.step4(answer.body);
  }

  next(): CallNumber {
    return { lane: this.session.terms.lane, counter: this.counter++ };
  }

  frame(calls: Call[], number: CallNumber = this.next()): Uint8Array {
    const { sessionId } = this.session;
    const key = { primitives, keySize: this.config.keySize, secret: this.secrets.clientToServer };
    const call = { epoch: this.epoch & 0xff, sessionId, number, salt: primitives.random(8) };
    return sealCall(key, call, encodeCalls(calls)).frame;
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
