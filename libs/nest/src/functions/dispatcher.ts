import { AsyncResource } from 'node:async_hooks';
import { inspect } from 'node:util';
import { Inject, Injectable, Logger, Optional } from '@nestjs/common';
import { type Call, encodeOutcome, encodeReply, encodeValue, type Outcome, SealwireError } from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import { isObservable, lastValueFrom } from 'rxjs';
import { ExactlyOnce } from '../ports/index.js';
import type { SealedOrigin } from '../sessions/origin.js';
import type { Arrival } from '../sessions/peer.js';
import type { Bare } from './binding.js';
import { RemoteFunctionExplorer } from './explorer.js';
import { failure, failureOf, INTERNAL, RemoteFunctionError } from './outcome.js';
import type { RegisteredFunction, RegisteredModule } from './registry.js';
import { RunningCall } from './running-call.js';

/** Calls that were opened, with what is known of who sent them. */
export interface OpenedCalls {
  readonly module: RegisteredModule;
  readonly calls: readonly Call[];
  /** the message that they came in */
  readonly arrival: Arrival;
  /** undefined for plaintext */
  readonly sealed: SealedOrigin | undefined;
}

/** One for each call, in their order; bytes are one that is encoded already. */
export type Outcomes = (Outcome | Uint8Array)[];

interface Settled {
  readonly outcome: Outcome;
  /** the function, or what stands before it, threw, whatever a filter made of it */
  readonly thrown: boolean;
  /** what was thrown and is not meant for the caller */
  readonly unexpected?: unknown;
}

/** Runs remote functions by name. It never throws: whatever happens is an outcome. */
@Injectable()
export class RemoteFunctionDispatcher {
  private readonly logger = new Logger('Sealwire');

  constructor(
    @Inject(RemoteFunctionExplorer) private readonly explorer: RemoteFunctionExplorer,
    @Optional() @Inject(ExactlyOnce) private readonly exactlyOnce?: ExactlyOnce,
  ) {}

  /**
   * The calls of a batch are independent and run at the same time; outcomes come in their order. Each has an async context of its
   * own: a store that one call enters (`AsyncLocalStorage.enterWith`) is not that of the next.
   */
  run(opened: OpenedCalls): Promise<Outcomes> {
    const { calls } = opened;
    const [only] = calls;
    if (only && calls.length === 1) return this.runOne(opened, only, 0).then((outcome) => [outcome]);
    const apart = (call: Call, index: number) =>
      new AsyncResource('SealwireCall').runInAsyncScope(() => this.runOne(opened, call, index));
    return Promise.all(calls.map(apart));
  }

  /** A value that cannot be encoded fails its own call only. Bytes are an outcome that is encoded already. */
  encode(outcomes: Outcomes): Uint8Array {
    return encodeReply({ outcomes }, (error) => {
      this.logger.error(error);
      return INTERNAL;
    });
  }

  private async runOne(opened: OpenedCalls, call: Call, index: number): Promise<Outcome | Uint8Array> {
    const { module, sealed } = opened;
    const found = module.functions.get(call.name);
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
    if (found.exactlyOnce && sealed) return this.runOnce(found, opened, call, index);
    if (call.resend && !found.idempotent) {
      return failure('outcome_unknown', 'The call may have run before and is not one that may run twice.');
    }
    if (found.bare) return this.runBare(found, found.bare, call.args);
    const { outcome, unexpected } = await this.invoke(found, opened, call, undefined);
    if (unexpected !== undefined) this.report(found, unexpected);
    return outcome;
  }

  private async runBare(found: RegisteredFunction, { host, method }: Bare, args: readonly unknown[]): Promise<Outcome> {
    try {
      const value = await method.apply(host, args as unknown[]);
      return { ok: true, value: isObservable(value) ? await lastValueFrom(value) : value };
    } catch (error) {
      const outcome = failureOf(error);
      if (outcome === INTERNAL) this.report(found, error);
      return outcome;
    }
  }

  private async runOnce(
    found: RegisteredFunction,
    opened: OpenedCalls,
    call: Call,
    index: number,
  ): Promise<Outcome | Uint8Array> {
    const { module, sealed } = opened;
    if (!this.exactlyOnce || !sealed) return INTERNAL;
    const identity = {
      module: module.path,
      session: sealed.session(undefined).id,
      name: call.name,
      digest: nodePrimitives.sha256(encodeValue([call.name, call.args])),
      callId: call.resend?.callId ?? sealed.callId(index),
      claimed: call.resend?.incarnation,
    };
    try {
      return await this.exactlyOnce.run(identity, async (transaction) => {
        const { outcome, unexpected, thrown } = await this.invoke(found, opened, call, transaction);
        if (unexpected !== undefined) throw unexpected;
        const { sent, bytes } = this.encodable(outcome);
        return { outcome: bytes, rollback: thrown || !sent.ok };
      });
    } catch (error) {
      const code = error instanceof SealwireError ? error.code : undefined;
      if (code === 'outcome_unknown') return failure(code, 'The call was first sent to another state of the database.');
      if (code === 'number_conflict') return failure('bad_request', 'Another call was sent under this identity.');
      if (code === 'busy') return failure('unavailable', 'The call could not be completed; send it again.');
      const outcome = failureOf(error);
      if (outcome === INTERNAL) this.report(found, error);
      return outcome;
    }
  }

  private async invoke(
    found: RegisteredFunction,
    { module, arrival, sealed }: OpenedCalls,
    call: Call,
    transaction: unknown,
  ): Promise<Settled> {
    const inside = { transaction, session: sealed?.session, arrival, origin: found.origin };
    const running = new RunningCall(module.path, call.name, call.args, inside);
    let settled: Settled;
    try {
      const value = await found.invoke(running);
      const saved = running.save();
      if (saved) await saved;
      settled = { outcome: running.written() ?? { ok: true, value }, thrown: running.thrown };
    } catch (error) {
      settled = settledOf(error, running);
    }
    try {
      running.settle(settled.outcome);
    } catch (error) {
      this.report(found, error);
    }
    return settled;
  }

  /** The caller learns nothing of it. */
  private report({ origin }: RegisteredFunction, thrown: unknown): void {
    this.logger.error(thrown instanceof Error ? thrown : `${origin} threw ${inspect(thrown)}`);
  }

  /** What is sent for an outcome: not itself if it cannot be encoded. */
  private encodable(outcome: Outcome): { readonly sent: Outcome; readonly bytes: Uint8Array } {
    try {
      return { sent: outcome, bytes: encodeOutcome(outcome) };
    } catch (error) {
      this.logger.error(error);
      return { sent: INTERNAL, bytes: encodeOutcome(INTERNAL) };
    }
  }
}

/** A filter may have answered, unless the error says itself what the caller is told. */
function settledOf(error: unknown, running: RunningCall): Settled {
  const written = error instanceof RemoteFunctionError ? undefined : running.written();
  const outcome = written ?? failureOf(error);
  if (outcome !== INTERNAL || written) return { outcome, thrown: true };
  return { outcome, thrown: true, unexpected: error ?? new Error('thrown without a value') };
}
