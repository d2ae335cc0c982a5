import type { TransportRequest } from '@sealwire/client';
import {
  type Call,
  type CallFrame,
  concat,
  decodeCalls,
  encodeCallNumber,
  encodeOutcome,
  encodeReply,
  encodeValue,
  hedgedRandom,
  isLive,
  openCall,
  parseCall,
  runSync,
  type SealedStatus,
  SealwireError,
  SIZE,
  sealResult,
  toHex,
} from '@sealwire/core';
import {
  IncomingStreams,
  type LiveOpener,
  OutgoingStreams,
  openLiveCall,
  sealLiveResult,
  UNIT,
  type Unit,
  UnitReader,
  type WritePiece,
} from '@sealwire/core/live';
import { nodePrimitives as primitives } from '@sealwire/core/node';
import { refused } from './answers.js';
import { PeerServer, type PeerSession } from './server.js';

type Body = TransportRequest['body'];

/** What a live function gets beside its arguments. */
export interface LiveContext {
  readonly call: Call;
  /** aborted when the connection is gone */
  readonly signal: AbortSignal;
  /** sent with the result */
  progress(value: unknown): void;
  /** ends the message with a status */
  end(status: SealedStatus): void;
  /** at(position, item) pairs and offsets travel */
  readonly resumable: { on: boolean };
}

export type LiveFunction = (context: LiveContext, ...args: never[]) => unknown;

export interface LiveAnswer {
  readonly status: number;
  readonly contentType: string;
  readonly body: Uint8Array | ReadableStreamDefaultReader<Uint8Array>;
}

/** A peer that also takes live calls, and answers `live` functions with live results. Numbers of live messages run once. */
export class LivePeerServer extends PeerServer {
  /** functions that are answered live */
  live: Record<string, LiveFunction> = {};
  /** `run` unit of each live result, by default random */
  runId = () => primitives.random(SIZE.runId);
  readonly liveCalls: { readonly call: Call; readonly bytes: number; readonly digest: string }[] = [];
  /** kept results of live calls, or that they run */
  readonly #numbers = new Map<string, Uint8Array | 'running' | 'gone'>();
  readonly #random = hedgedRandom(primitives);
  override maxUpload = 2 ** 40;
  override pulse = 15;

  readonly answer = async (request: { contentType: string; body: Body }): Promise<LiveAnswer> => {
    const { body, contentType } = request;
    if (!(body instanceof Uint8Array)) return this.#liveCall(body);
    if (isLive(body)) return this.#liveCall(new Blob([body as Uint8Array<ArrayBuffer>]));
    const found = body[0] === 0x11 ? this.#find(parseCall(body)) : undefined;
    if (!found || found.parsed.number.lane === 0) return this.handle({ contentType, body });
    const calls = decodeCalls(openCall(found.key.up, found.parsed));
    if (!calls.some(({ name }) => name in this.live)) return this.handle({ contentType, body });
    this.seen.push({ kind: 'call', frame: body, contentType });
    const scripted = this.onCall(found.session, found.parsed.number, calls);
    if (typeof scripted === 'string') return refused(scripted);
    if (scripted) return this.#frame(found, encodeReply(scripted));
    const known = this.#known(found);
    if (known) return known;
    return this.#result(
      found,
      calls,
      calls.map(({ args }) => args),
    );
  };

  #find(parsed: CallFrame) {
    const session = this.sessions.get(toHex(parsed.sessionId));
    const keys = session?.epochs[session.epoch - ((session.epoch - parsed.epoch) & 0xff)];
    if (!session || !keys) return undefined;
    const { keySize } = session;
    const up = { primitives, keySize, secret: keys.clientToServer };
    const down = { primitives, keySize, secret: keys.serverToClient };
    const name = `${toHex(session.id)} ${toHex(encodeCallNumber(parsed.number))}`;
    return { session, parsed: { ...parsed, header: parsed.header.slice() }, key: { up, down }, name };
  }

  #known(found: Found): LiveAnswer | undefined {
    const known = this.#numbers.get(found.name);
    if (found.session.ended && !known) return this.#frame(found, encodeReply({ status: 'session_ended' }));
    if (known === 'running') return this.#frame(found, encodeReply({ status: 'running' }));
    if (known === 'gone') return this.#frame(found, encodeReply({ status: 'result_gone' }));
    return known && { status: 200, contentType: 'application/vnd.sealwire', body: known };
  }

  #frame({ key, parsed }: Found, body: Uint8Array): LiveAnswer {
    const frame = sealResult(key.down, { epoch: parsed.epoch, callHeader: parsed.header }, this.#random, body);
    return { status: 200, contentType: 'application/vnd.sealwire', body: frame };
  }

  async #liveCall(body: Exclude<Body, Uint8Array>): Promise<LiveAnswer> {
    const reader = body.stream().getReader();
    const next = async () => (await reader.read()).value;
    let head = new Uint8Array(0);
    let opener: LiveOpener | undefined;
    let found: Found | undefined;
    const units = new UnitReader('call', this.maxBody);
    const streams = new IncomingStreams({
      errorOf: ({ code, message }) => Object.assign(new Error(message), { code }),
    });
    let bytes = 0;
    /** @returns the units of the bytes that come next, undefined at the end */
    const more = async () => {
      const value = await next().catch(() => undefined);
      if (!value) return undefined;
      bytes += value.length;
      if (opener) return runSync(opener.push(value)).flatMap((piece) => units.push(piece));
      head = new Uint8Array([...head, ...value]);
      if (head.length < SIZE.callHeader) return [];
      found = this.#find(parseCall(head.subarray(0, SIZE.callHeader)));
      if (!found) throw new SealwireError('session_unknown');
      opener = openLiveCall(found.key.up, found.parsed);
      return runSync(opener.push(head.subarray(SIZE.callHeader))).flatMap((piece) => units.push(piece));
    };
    try {
      let got: Awaited<ReturnType<typeof more>> = [];
      let calls: Call[] | undefined;
      while (!calls) {
        got = await more();
        if (!got) return refused('bad_frame');
        const [payload] = got;
        if (payload) calls = decodeCalls(payload.bytes, { revive: streams.revive });
      }
      const context = found as Found;
      const scripted = this.onCall(context.session, context.parsed.number, calls);
      if (typeof scripted === 'string') return refused(scripted);
      if (scripted) return this.#frame(context, encodeReply(scripted));
      const known = this.#known(context);
      if (known) {
        await reader.cancel().catch(() => {});
        return known;
      }
      const [call] = calls as [Call];
      const rest = got?.slice(1) ?? [];
      const pump = async () => {
        for (let now: readonly Unit[] | undefined = rest; now; now = await more())
          for (const unit of now) if (unit.kind !== UNIT.pulse) await streams.accept(unit);
        opener?.end();
        if (streams.open > 0) throw new SealwireError('bad_payload');
      };
      void pump()
        .catch((error: Error) => streams.fail(error))
        .then(() => this.liveCalls.push({ call, bytes, digest: context.name }));
      return this.#result(
        context,
        calls,
        calls.map(({ args }) => args),
      );
    } catch (error) {
      return refused(
        error instanceof SealwireError && error.code === 'session_unknown' ? 'session_unknown' : 'bad_frame',
      );
    }
  }

  async #result(found: Found, calls: readonly Call[], args: readonly (readonly unknown[])[]): Promise<LiveAnswer> {
    this.#numbers.set(found.name, 'running');
    const streams = new OutgoingStreams();
    const gone = new AbortController();
    let sealer: ReturnType<typeof sealLiveResult>['sealer'] | undefined;
    let go: (() => void) | undefined;
    const sent: Uint8Array[] = [];
    const body = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          const write: WritePiece = (body, last) => {
            let chunk: Uint8Array;
            if (sealer) chunk = concat(...runSync(sealer.sealInPlace(body, last)));
            else {
              const begun = sealLiveResult(
                found.key.down,
                { epoch: found.parsed.epoch, callHeader: found.parsed.header },
                this.#random,
                concat(...body),
                last,
              );
              ({ sealer, first: chunk } = begun);
            }
            sent.push(chunk);
            controller.enqueue(chunk);
            if (last) controller.close();
            if (last) this.#numbers.set(found.name, streams.size > 0 ? 'gone' : new Uint8Array(Buffer.concat(sent)));
            if (last || (controller.desiredSize ?? 1) > 0) return undefined;
            return new Promise<void>((resolve) => {
              go = resolve;
            });
          };
          const failure = (error: unknown) => {
            const { code = 'internal', message } = error as { code?: string; message: string };
            return { code, message };
          };
          streams.run(write, failure).catch(() => {});
        },
        pull: () => {
          go?.();
          go = undefined;
        },
        cancel: (reason) => {
          this.#numbers.set(found.name, 'gone');
          gone.abort(reason);
          streams.cancel(reason);
        },
      },
      { highWaterMark: 0 },
    );
    streams.send(UNIT.run, 0, this.runId());
    const one = async (call: Call, index: number) => {
      const resumable = { on: false };
      const context: LiveContext = {
        call,
        signal: gone.signal,
        progress: (value) => streams.send(UNIT.progress, index, encodeValue(value)),
        end: (status) => streams.stop(UNIT.status, encodeReply({ status } as never), new Error(status)),
        resumable,
      };
      this.runs.push({ name: call.name, args: call.args, callId: call.resend ? toHex(call.resend.callId) : '' });
      let outcome: Parameters<typeof encodeOutcome>[0];
      try {
        const run = this.live[call.name] ?? ((_: unknown, ...all: never[]) => this.functions[call.name]?.(...all));
        outcome = { ok: true, value: await run(context, ...((args[index] ?? []) as never[])) };
      } catch (error) {
        const { code = 'internal', message, details } = error as { code?: string; message: string; details?: unknown };
        outcome = { ok: false, code, message, details };
      }
      const replace = resumable.on ? streams.replaceResumable : streams.replace;
      streams.send(UNIT.outcome, index, encodeOutcome(outcome, { replace }));
    };
    void Promise.all(calls.map(one)).then(() => streams.finish());
    return { status: 200, contentType: 'application/vnd.sealwire', body: body.getReader() };
  }
}

type Found = {
  readonly session: PeerSession;
  readonly parsed: CallFrame;
  readonly key: { readonly up: Parameters<typeof openCall>[0]; readonly down: Parameters<typeof openCall>[0] };
  readonly name: string;
};
