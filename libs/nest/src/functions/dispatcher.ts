import { inspect } from 'node:util';
import { Inject, Injectable, Logger, Optional } from '@nestjs/common';
import { type Call, decodeReply, encodeReply, encodeValue, type Outcome, SealwireError } from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import { ExactlyOnce } from '../ports/index.js';
import type { SealedOrigin } from '../sessions/origin.js';
import { failure, failureOf, INTERNAL } from './outcome.js';
import type { RegisteredFunction, RegisteredModule } from './registry.js';
import { CapturedResponse } from './response-stand-in.js';

/** Calls that were opened, with what is known of who sent them. */
export interface OpenedCalls {
  readonly module: RegisteredModule;
  readonly calls: readonly Call[];
  readonly request: unknown;
  /** undefined for plaintext */
  readonly sealed: SealedOrigin | undefined;
}

interface Settled {
  readonly outcome: Outcome;
  /** what was thrown and is not meant for the caller */
  readonly unexpected?: unknown;
}

/** Runs remote functions by name. It never throws: whatever happens is an outcome. */
@Injectable()
export class RemoteFunctionDispatcher {
  private readonly logger = new Logger('Sealwire');

  constructor(@Optional() @Inject(ExactlyOnce) private readonly exactlyOnce?: ExactlyOnce) {}

  /** The calls of a batch are independent and run at the same time; outcomes come in their order. */
  async run(opened: OpenedCalls): Promise<Outcome[]> {
    const [only] = opened.calls;
    if (only && opened.calls.length === 1) return [await this.runOne(opened, only, 0)];
    return Promise.all(opened.calls.map((call, index) => this.runOne(opened, call, index)));
  }

  /** A value that cannot be encoded fails its own call only. */
  encode(outcomes: readonly Outcome[]): Uint8Array {
    try {
      return encodeReply({ outcomes });
    } catch {
      return encodeReply({ outcomes: outcomes.map((outcome) => this.encodable(outcome).sent) });
    }
  }

  private async runOne(opened: OpenedCalls, call: Call, index: number): Promise<Outcome> {
    const { module, sealed } = opened;
    const found = module.functions.get(call.name);
    if (!found) return failure('function_unknown', `The module ${module.path} has no function ${call.name}.`);
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
    const { outcome, unexpected } = await this.invoke(found, opened, call, undefined);
    if (unexpected !== undefined) this.report(found, unexpected);
    return outcome;
  }

  private async runOnce(found: RegisteredFunction, opened: OpenedCalls, call: Call, index: number): Promise<Outcome> {
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
      const stored = await this.exactlyOnce.run(identity, async (transaction) => {
        const { outcome, unexpected } = await this.invoke(found, opened, call, transaction);
        if (unexpected !== undefined) throw unexpected;
        const { sent, bytes } = this.encodable(outcome);
        return { outcome: bytes, rollback: !sent.ok };
      });
      const reply = decodeReply(stored);
      return ('outcomes' in reply ? reply.outcomes[0] : undefined) ?? INTERNAL;
    } catch (error) {
      const code = error instanceof SealwireError ? error.code : undefined;
      if (code === 'outcome_unknown') return failure(code, 'The call was first sent to another state of the database.');
      if (code === 'busy') return failure('unavailable', 'The call could not be completed; send it again.');
      const outcome = failureOf(error);
      if (outcome === INTERNAL) this.report(found, error);
      return outcome;
    }
  }

  private async invoke(
    found: RegisteredFunction,
    { module, request, sealed }: OpenedCalls,
    call: Call,
    transaction: unknown,
  ): Promise<Settled> {
    const response = new CapturedResponse();
    const session = sealed?.session(transaction);
    const running = { module: module.path, functionName: call.name, args: call.args, session, transaction };
    try {
      const value = await found.invoke(request, response, running);
      await session?.save();
      return { outcome: response.outcome() ?? { ok: true, value } };
    } catch (error) {
      const written = response.outcome();
      if (written) return { outcome: written };
      const outcome = failureOf(error);
      return outcome === INTERNAL ? { outcome, unexpected: error ?? new Error('thrown without a value') } : { outcome };
    }
  }

  /** The caller learns nothing of it. */
  private report({ origin }: RegisteredFunction, thrown: unknown): void {
    this.logger.error(thrown instanceof Error ? thrown : `${origin} threw ${inspect(thrown)}`);
  }

  /** What is sent for an outcome: not itself where it cannot be encoded. */
  private encodable(outcome: Outcome): { readonly sent: Outcome; readonly bytes: Uint8Array } {
    try {
      return { sent: outcome, bytes: encodeReply({ outcomes: [outcome] }) };
    } catch (error) {
      this.logger.error(error);
      return { sent: INTERNAL, bytes: encodeReply({ outcomes: [INTERNAL] }) };
    }
  }
}
