import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import {
  type Call,
  CONTENT_TYPE,
  concat,
  decodeOutcome,
  decodeReply,
  decodeValue,
  encodeCalls,
  hedgedRandom,
  isLive,
  type MessageStatus,
  type Outcome,
  runSync,
  SealwireError,
} from '@sealwire/core';
import {
  encodeUnit,
  IncomingStreams,
  type LiveOpener,
  OutgoingStreams,
  openLiveResult,
  sealLiveCall,
  UNIT,
  type Unit,
  UnitReader,
} from '@sealwire/core/live';
import { nodePrimitives as primitives } from '@sealwire/core/node';
import { only, type PeerClient } from './support.js';

const random = hedgedRandom(primitives);

export class PeerError extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly details?: unknown,
  ) {
    super(message);
  }
}

/** A live result as a test reads it: piece by piece, as slowly as it likes. */
export class LiveAnswer {
  readonly streams = new IncomingStreams({
    errorOf: ({ code, message, details }) => new PeerError(code, message, details),
  });
  readonly units: Unit[] = [];
  /** bytes of the whole answer so far */
  readonly bytes: Uint8Array[] = [];
  readonly progress: unknown[] = [];
  run: string | undefined;
  status: unknown;
  /** resolves when the connection's end is here; with what was wrong with it */
  readonly ended: Promise<unknown>;
  pieces = 0;
  private readonly reader: UnitReader;
  private opener: LiveOpener | undefined;
  private readonly outcomes: Promise<Outcome>[];
  private readonly settle: ((outcome: Outcome) => void)[] = [];
  private readonly refuse: ((error: unknown) => void)[] = [];

  constructor(
    readonly response: IncomingMessage,
    readonly request: ClientRequest,
    private readonly keyed: { readonly header: Uint8Array; readonly secret: Uint8Array },
    calls: number,
  ) {
    this.reader = new UnitReader('result', 64 * 1_048_576, calls);
    this.outcomes = Array.from({ length: calls }, () => {
      const outcome = new Promise<Outcome>((resolve, reject) => {
        this.settle.push(resolve);
        this.refuse.push(reject);
      });
      outcome.catch(() => undefined);
      return outcome;
    });
    this.ended = this.read().then(
      () => undefined,
      (error) => error,
    );
  }

  outcome(place = 0): Promise<Outcome> {
    return this.outcomes[place] as Promise<Outcome>;
  }

  /** What the call returned. @throws PeerError */
  async value<T = unknown>(place = 0): Promise<T> {
    const outcome = await this.outcome(place);
    if (outcome.ok) return outcome.value as T;
    throw new PeerError(outcome.code, outcome.message, outcome.details);
  }

  get whole(): Uint8Array {
    return new Uint8Array(Buffer.concat(this.bytes));
  }

  cut(): void {
    this.request.destroy();
  }

  private async read(): Promise<void> {
    try {
      let head: Uint8Array = new Uint8Array(0);
      for await (const chunk of this.response as AsyncIterable<Buffer>) {
        const bytes: Uint8Array = new Uint8Array(chunk);
        this.bytes.push(bytes);
        let rest = bytes;
        if (!this.opener) {
          head = new Uint8Array(Buffer.concat([head, bytes]));
          if (head.length < 12) continue;
          const key = { primitives, keySize: 32 as const, secret: this.keyed.secret };
          this.opener = openLiveResult(key, this.keyed.header, head.subarray(0, 12));
          rest = head.subarray(12);
        }
        for (const body of runSync(this.opener.push(rest))) {
          this.pieces += 1;
          for (const unit of this.reader.push(body)) await this.take(unit);
        }
      }
      if (!this.opener) throw new SealwireError('stream_cut');
      this.opener.end();
      if (this.status !== undefined) throw new PeerError(String(this.status), 'the message ended');
    } catch (error) {
      const cut = error instanceof PeerError ? error : new SealwireError('stream_cut', undefined, { cause: error });
      this.streams.fail(cut);
      for (const refuse of this.refuse) refuse(cut);
      throw error;
    }
  }

  private async take(unit: Unit): Promise<void> {
    const { kind, stream, bytes } = unit;
    this.units.push({ kind, stream, bytes: kind === UNIT.data ? new Uint8Array(0) : bytes.slice() });
    if (kind === UNIT.run) this.run = Buffer.from(bytes).toString('hex');
    else if (kind === UNIT.progress) this.progress.push(decodeValue(bytes));
    else if (kind === UNIT.status) this.status = (decodeReply(bytes) as MessageStatus).status;
    else if (kind === UNIT.outcome) this.settle[stream]?.(decodeOutcome(bytes, { revive: this.streams.revive }));
    else if (kind !== UNIT.pulse) await this.streams.accept(unit);
  }
}

export type Sent = { readonly frame: Uint8Array; readonly header: Uint8Array; readonly secret: Uint8Array };

/** Sends a sealed frame; the answer is live, or the bytes of an ordinary one. */
export function sendLive(client: PeerClient, frame: Uint8Array, calls = 1): Promise<LiveAnswer | Uint8Array> {
  const { request, answer } = openRequest(client, frame.subarray(0, 36), calls);
  request.end(frame);
  return answer;
}

/** One sealed message whose result is live. */
export async function callLive(client: PeerClient, ...calls: Call[]): Promise<LiveAnswer> {
  const answer = await sendLive(client, client.frame(calls), calls.length);
  if (answer instanceof LiveAnswer) return answer;
  throw new Error(`not live: ${JSON.stringify(client.open(client.frame(calls), answer))}`);
}

/** One sealed call: whether its result is live, and what it returned. */
export async function answerOf<T>(client: PeerClient, call: Call): Promise<{ live: boolean; value(): Promise<T> }> {
  const frame = client.frame([call]);
  const answer = await sendLive(client, frame);
  if (answer instanceof LiveAnswer) return { live: true, value: () => answer.value() };
  return { live: false, value: async () => only(client.open(frame, answer)) as T };
}

/** What one sealed call returned, in a live result or an ordinary one. @throws PeerError */
export async function resultOf<T>(client: PeerClient, call: Call): Promise<T> {
  return (await answerOf<T>(client, call)).value();
}

export async function listOf<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

function openRequest(client: PeerClient, header: Uint8Array, calls: number) {
  const secret = client.secrets.serverToClient;
  let request!: ClientRequest;
  const answer = new Promise<LiveAnswer | Uint8Array>((resolve, reject) => {
    request = httpRequest(client.url, { method: 'POST', headers: { 'content-type': CONTENT_TYPE } }, (response) => {
      response.once('readable', async () => {
        const head: Buffer | null = response.read();
        if (head) response.unshift(head);
        if (head && isLive(head)) {
          resolve(new LiveAnswer(response, request, { header, secret }, calls));
          return;
        }
        const chunks: Buffer[] = [];
        try {
          for await (const chunk of response) chunks.push(chunk);
          const bytes = Buffer.concat(chunks);
          if (response.statusCode === 200) resolve(new Uint8Array(bytes));
          else reject(new Error(JSON.parse(bytes.toString()).code));
        } catch (error) {
          reject(error);
        }
      });
    });
    request.on('error', reject);
  });
  answer.catch(() => undefined);
  return { request, answer };
}

/** A live call in the hands of a test: its first chunk, and what comes behind it. */
export class LiveCall {
  readonly streams = new OutgoingStreams();
  readonly answer: Promise<LiveAnswer | Uint8Array>;
  readonly request: ClientRequest;
  /** header and first chunk */
  readonly first: Uint8Array;
  private readonly sealer: ReturnType<typeof sealLiveCall>['sealer'];

  /** @param body of the first piece instead of the payload unit */
  constructor(
    private readonly client: PeerClient,
    readonly calls: Call[],
    body?: Uint8Array,
    last = false,
  ) {
    const payload = body ?? encodeUnit(UNIT.payload, 0, encodeCalls(calls, this.streams));
    const key = { primitives, keySize: 32, secret: client.secrets.clientToServer } as const;
    const call = { epoch: client.epoch & 0xff, sessionId: client.session.sessionId, number: client.next() };
    const { sealer, first } = sealLiveCall(key, call, random, payload, last);
    this.sealer = sealer;
    this.first = runSync(first);
    ({ request: this.request, answer: this.answer } = openRequest(client, this.first.subarray(0, 36), calls.length));
    this.request.write(this.first);
  }

  /** The next piece, of those bytes or units. */
  piece(body: Uint8Array, last = false): void {
    const bytes = runSync(this.sealer.seal(body, last));
    if (last) this.request.end(bytes);
    else this.request.write(bytes);
  }

  unit(kind: Unit['kind'], stream: number, bytes: Uint8Array = new Uint8Array(0), last = false): void {
    this.piece(encodeUnit(kind, stream, bytes), last);
  }

  /** Sends all of the streams among the arguments. */
  async rest(): Promise<void> {
    this.streams.finish();
    await this.streams.run(
      (body, last) => {
        const bytes = concat(...runSync(this.sealer.sealInPlace(body, last)));
        if (last) {
          this.request.end(bytes);
          return;
        }
        if (!this.request.write(bytes)) return new Promise((resolve) => this.request.once('drain', () => resolve()));
      },
      (thrown) => ({ code: 'source_failed', message: String(thrown) }),
    );
  }

  /** The outcomes of an ordinary result. */
  async outcomes(): Promise<readonly Outcome[]> {
    const answer = await this.answer;
    if (answer instanceof LiveAnswer) throw new Error('live');
    const reply = this.client.open(this.first, answer);
    if (!('outcomes' in reply)) throw new PeerError('status' in reply ? reply.status : 'first', 'no outcomes');
    return reply.outcomes;
  }

  /** What the only call returned. @throws PeerError */
  async value(): Promise<unknown> {
    const [outcome] = await this.outcomes();
    if (outcome?.ok) return outcome.value;
    throw new PeerError(outcome?.code ?? '', outcome?.message ?? '', outcome?.details);
  }
}
