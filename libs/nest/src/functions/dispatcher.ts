import { AsyncResource } from 'node:async_hooks';
import { Inject, Injectable, Logger, Optional } from '@nestjs/common';
import {
  type Call,
  encodeOutcome,
  encodeReply,
  encodeValue,
  type Outcome,
  type Replace,
  SealwireError,
  thrownText,
} from '@sealwire/core';
import { CompleteStream, completeReference, STOP } from '@sealwire/core/live';
import { nodePrimitives } from '@sealwire/core/node';
import { isObservable } from 'rxjs';
import type { ResolvedOptions } from '../options.js';
import { ExactlyOnce } from '../ports/index.js';
import { type Ended, LiveReply, type StreamingCall } from '../streams/live-reply.js';
import { type EncodeReply, encodeWhole, MessageReply, StreamRefusedError } from '../streams/message-reply.js';
import { Observed } from '../streams/observed.js';
import { begun, COMPLETE_BYTES } from '../streams/read-ahead.js';
import { letGoStreams, streamIn } from '../streams/sources.js';
import { RESOLVED_OPTIONS } from '../tokens.js';
import type { Bare } from './binding.js';
import { RemoteFunctionExplorer } from './explorer.js';
import { invoke, type OpenedCalls, orAgain, report } from './invocation.js';
import { failure, failureOf, INTERNAL } from './outcome.js';
import type { RegisteredFunction } from './registry.js';
import { refusedName } from './request-view.js';
import { RunningCall } from './running-call.js';

/** Outcomes of plain calls in their order; of sealed ones the encoded payload of their reply, or a reply that is live. */
export type Dispatched = Outcome[] | Uint8Array | LiveReply;

/** A resumable call that nothing but its streams outlives. */
const RESUMABLE: StreamingCall = { resumable: true, abandon: () => undefined, end: () => undefined };

/** Rolls an exactlyOnce function back and keeps no outcome. */
class BrokenOff extends Error {
  constructor(readonly outcome: Outcome) {
    super('The call was broken off.');
  }
}

/** Runs remote functions by name. It never throws: whatever happens is an outcome. */
@Injectable()
export class RemoteFunctionDispatcher {
  private readonly logger = new Logger('Sealwire');

  constructor(
    @Inject(RemoteFunctionExplorer) private readonly explorer: RemoteFunctionExplorer,
    @Inject(RESOLVED_OPTIONS) private readonly options: Pick<ResolvedOptions, 'refusedMetadata'>,
    @Optional() @Inject(ExactlyOnce) private readonly exactlyOnce?: ExactlyOnce,
  ) {}

  /**
   * The calls of a batch are independent and run at the same time; outcomes come in their order. Each has an async context of its
   * own: a store that one call enters (`AsyncLocalStorage.enterWith`) is not that of the next.
   */
  run(opened: OpenedCalls): Promise<Dispatched> {
    const { module, calls, sealed } = opened;
    if (!sealed) return this.runPlain(opened);
    const only = calls.length === 1 ? calls[0] : undefined;
    const found = only && module.functions.get(only.name);
    if (only && found?.bare && !found.exactlyOnce) return this.runAlone(opened, only, found, found.bare);
    const message = this.messageOf(opened);
    if (only) this.begin(opened, only, 0, message);
    else {
      calls.forEach((call, index) => {
        new AsyncResource('SealwireCall').runInAsyncScope(() => this.begin(opened, call, index, message));
      });
    }
    return message.reply;
  }

  /** Most messages are one call of a bare function, which reports no progress: only a stream makes its reply live. */
  private async runAlone(
    opened: OpenedCalls,
    call: Call,
    found: RegisteredFunction,
    bare: Bare,
  ): Promise<Uint8Array | LiveReply> {
    const refused = this.refusalOf(opened, call, found);
    const ended = refused ? { outcome: refused, call: undefined } : await this.runBare(found, bare, call, opened);
    // what is a stream itself is not encoded in vain
    const { outcome } = ended;
    let streams =
      'ok' in outcome && outcome.ok && isIterable(outcome.value) && !(outcome.value instanceof CompleteStream);
    if (!streams) {
      const payload = this.encode(opened, [outcome], () => {
        streams = true;
      });
      if (!streams) return payload;
    }
    const reply = new LiveReply();
    reply.outcome(0, ended);
    reply.finish();
    return reply;
  }

  private messageOf(opened: OpenedCalls): MessageReply {
    const encode: EncodeReply = (outcomes, onStream) => this.encode(opened, outcomes, onStream);
    return new MessageReply(opened.calls.length, opened.sealed?.together, encode);
  }

  private begin(opened: OpenedCalls, call: Call, index: number, message: MessageReply): void {
    this.runOne(opened, call, index, (value) => message.progress(index, value)).then(
      (ended) => message.end(index, ended),
      (error) => message.fail(error),
    );
  }

  /** A plain result is one body, so it holds no streams. */
  private runPlain(opened: OpenedCalls): Promise<Outcome[]> {
    const work = async (call: Call, index: number): Promise<Outcome> => {
      const { outcome, call: running } = await this.runOne(opened, call, index, () => undefined);
      running?.end();
      if (outcome instanceof Uint8Array) return INTERNAL;
      try {
        encodeWhole(outcome, 'streams');
        return outcome;
      } catch (error) {
        if (!(error instanceof StreamRefusedError)) return outcome;
        return failure('encryption_required', 'This function answers with a stream, which needs an encrypted call.');
      }
    };
    return Promise.all(
      opened.calls.map((call, index) => new AsyncResource('SealwireCall').runInAsyncScope(() => work(call, index))),
    );
  }

  /**
   * A value that cannot be encoded fails its own call only. Bytes are an outcome that is encoded already.
   * @param onStream is told that an outcome holds a stream, and what is answered is then of no use
   */
  private encode(
    { module, calls }: OpenedCalls,
    outcomes: readonly (Outcome | Uint8Array)[],
    onStream: () => void,
  ): Uint8Array {
    let complete = 0;
    let streams = false;
    let failed: Map<unknown, unknown> | undefined;
    const replace: Replace = (value) => {
      if (!streamIn(value)) return undefined;
      if (value instanceof CompleteStream) complete += value.length;
      const reference = complete <= COMPLETE_BYTES ? completeReference(value) : undefined;
      if (!reference) {
        streams = true;
        onStream();
      }
      return reference ?? [];
    };
    const instead = (error: unknown, place: number): Outcome => {
      this.unsendable(module.functions.get(calls[place]?.name ?? '')?.origin, error);
      failed = (failed ?? new Map()).set(outcomes[place], error);
      return INTERNAL;
    };
    const payload = encodeReply({ outcomes }, instead, { replace });
    // else all of them are encoded again
    if (failed && !streams) for (const [outcome, error] of failed) letGoStreams(outcome, error);
    return payload;
  }

  private unsendable(origin: string | undefined, error: unknown): void {
    this.logger.error(
      `${origin ?? 'A function'}: ${thrownText(error)}`,
      error instanceof Error ? error.stack : undefined,
    );
  }

  private async runOne(
    opened: OpenedCalls,
    call: Call,
    index: number,
    progress: (value: unknown) => void,
  ): Promise<Ended> {
    const { module, sealed } = opened;
    if (sealed && call.name === STOP) return { outcome: stopStreams(call.args), call: undefined };
    const found = module.functions.get(call.name);
    const refused = this.refusalOf(opened, call, found);
    if (!found || refused) return { outcome: refused ?? INTERNAL, call: undefined };
    if (found.exactlyOnce && sealed) return this.runOnce(found, opened, call, index, progress);
    if (found.bare) return this.runBare(found, found.bare, call, opened);
    const { outcome, unexpected, call: running } = await invoke(found, opened, call, progress, undefined);
    if (unexpected !== undefined) report(found, unexpected);
    const { context } = running;
    const streams = outcome.ok && isIterable(outcome.value);
    const sent = streams ? { ...outcome, value: await begun(outcome.value, found, opened, context) } : outcome;
    return { outcome: sent, call: running, origin: found.origin, context };
  }

  /** Why a call does not run at all. */
  private refusalOf(
    { module, sealed }: OpenedCalls,
    call: Call,
    found: RegisteredFunction | undefined,
  ): Outcome | undefined {
    if (!found) {
      this.explorer.tellOfLate();
      return failure('function_unknown', `The module ${module.path} has no function ${call.name}.`);
    }
    if (!sealed && (found.sealedOnly || found.exactlyOnce)) {
      return failure('encryption_required', 'This function accepts encrypted calls only.');
    }
    if (call.args.length > found.arity) {
      return failure('bad_request', `${call.name} takes ${found.arity} arguments, got ${call.args.length}.`);
    }
    if (call.resend && !found.exactlyOnce && !found.idempotent && !found.resumable) {
      return failure('outcome_unknown', 'The call may have run before and is not one that may run twice.');
    }
    if (call.resume && !found.resumable) {
      return failure('bad_request', `The streams of ${call.name} cannot be gone on with.`);
    }
    const missing = found.streams && missingStream(call, found.streams);
    if (missing) return failure('bad_request', missing);
    const name = call.metadata && refusedName(call.metadata, this.options.refusedMetadata);
    return name === undefined ? undefined : failure('bad_request', `The metadata may not hold '${name}'.`);
  }

  private async runBare(
    found: RegisteredFunction,
    { host, method }: Bare,
    { args }: Call,
    opened: OpenedCalls,
  ): Promise<Ended> {
    try {
      const value = await method.apply(host, args as unknown[]);
      const sent = isObservable(value) ? new Observed(value) : value;
      const { resumable, origin } = found;
      const read = isIterable(sent) ? await begun(sent, found, opened) : sent;
      return { outcome: { ok: true, value: read }, call: resumable ? RESUMABLE : undefined, origin };
    } catch (error) {
      const outcome = failureOf(error);
      if (outcome === INTERNAL) report(found, error);
      return { outcome: orAgain(found, outcome, opened.upload), call: undefined };
    }
  }

  private async runOnce(
    found: RegisteredFunction,
    opened: OpenedCalls,
    call: Call,
    index: number,
    progress: (value: unknown) => void,
  ): Promise<Ended> {
    const { module, sealed, upload } = opened;
    if (!this.exactlyOnce || !sealed) return { outcome: INTERNAL, call: undefined };
    const identity = {
      module: module.path,
      session: sealed.session(undefined).id,
      name: call.name,
      digest: nodePrimitives.sha256(encodeValue([call.name, call.args], { replace: upload?.replace })),
      callId: call.resend?.callId ?? sealed.callId(index),
      claimed: call.resend?.incarnation,
    };
    let running: RunningCall | undefined;
    try {
      const outcome = await this.exactlyOnce.run(identity, async (transaction) => {
        // its streams are read already
        if (running && upload) throw new SealwireError('busy');
        const settled = await invoke(found, opened, call, progress, transaction);
        const { outcome, unexpected, thrown, brokenOff } = settled;
        running = settled.call;
        if (brokenOff) throw new BrokenOff(outcome);
        if (unexpected !== undefined) throw unexpected;
        const { sent, bytes } = this.encodable(found, outcome);
        return { outcome: bytes, rollback: thrown || !sent.ok, thrown: running.error };
      });
      return { outcome, call: running };
    } catch (error) {
      return { outcome: this.failureOnce(found, error), call: running };
    }
  }

  private failureOnce(found: RegisteredFunction, error: unknown): Outcome {
    if (error instanceof BrokenOff) return error.outcome;
    const code = error instanceof SealwireError ? error.code : undefined;
    if (code === 'outcome_unknown') return failure(code, 'The call was first sent to another state of the database.');
    if (code === 'number_conflict') return failure('bad_request', 'Another call was sent under this identity.');
    if (code === 'busy') {
      const { cause } = error as SealwireError;
      this.logger.warn(`${found.origin} could not be completed: ${thrownText(cause ?? error)}`);
      return failure('unavailable', 'The call could not be completed; send it again.');
    }
    const outcome = failureOf(error);
    if (outcome === INTERNAL) report(found, error);
    return outcome;
  }

  /** The form in which an outcome is sent: not itself if it cannot be encoded. */
  private encodable(
    { origin }: RegisteredFunction,
    outcome: Outcome,
  ): { readonly sent: Outcome; readonly bytes: Uint8Array } {
    const sentence = `${origin} is exactlyOnce and returned a stream, which nobody could give again; it was rolled back.`;
    try {
      return { sent: outcome, bytes: encodeWhole(outcome, sentence) };
    } catch (error) {
      this.unsendable(origin, error);
      return { sent: INTERNAL, bytes: encodeOutcome(INTERNAL) };
    }
  }
}

/** Whatever is known of the run and its streams: it may be over, or sent by another server. */
function stopStreams([run, ...streams]: readonly unknown[]): Outcome {
  if (run instanceof Uint8Array)
    for (const stream of streams) if (typeof stream === 'number') LiveReply.leave(run, stream);
  return { ok: true, value: undefined };
}

function isIterable(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value;
}

/** What is said of an argument that is no stream although one is expected; one that is left out is the function's business. */
function missingStream({ name, args }: Call, streams: NonNullable<RegisteredFunction['streams']>): string | undefined {
  const missing = streams.find(({ place, type }) => {
    const value = args[place];
    return value !== undefined && value !== null && !(value instanceof type);
  });
  if (!missing) return undefined;
  const { place, type } = missing;
  const value = args[place];
  const why =
    isIterable(value) && !(value instanceof ReadableStream)
      ? ', and items came: a Readable in object mode, as Readable.from() makes it, is sent as items'
      : '';
  return `Argument ${place + 1} of ${name} has to be a ${type.name}${why}.`;
}
