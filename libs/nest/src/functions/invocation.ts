import { inspect } from 'node:util';
import { Logger } from '@nestjs/common';
import { type Call, type Outcome, SealwireError } from '@sealwire/core';
import type { SealedOrigin } from '../sessions/origin.js';
import type { Arrival } from '../sessions/peer.js';
import { type Audience, cancelled } from '../streams/audience.js';
import { holdStreams, letGoStreams } from '../streams/sources.js';
import type { Upload } from '../streams/upload.js';
import { failure, failureOf, INTERNAL, RemoteFunctionError } from './outcome.js';
import type { RegisteredFunction, RegisteredModule } from './registry.js';
import { RunningCall } from './running-call.js';

const logger = new Logger('Sealwire');

/** Calls that were opened, with what is known of who sent them. */
export interface OpenedCalls {
  readonly module: RegisteredModule;
  readonly calls: readonly Call[];
  /** the message that they came in */
  readonly arrival: Arrival;
  /** undefined for plaintext */
  readonly sealed: SealedOrigin | undefined;
  /** who waits for the message */
  readonly audience: () => Audience;
  /** the streams among the arguments, undefined if there are none */
  readonly upload: Upload | undefined;
}

interface Settled {
  readonly outcome: Outcome;
  /** the function, or what stands before it, threw, whatever a filter made of it */
  readonly thrown: boolean;
  /** what was thrown and is not meant for the caller */
  readonly unexpected?: unknown;
  /** it was broken off: an exactlyOnce function is rolled back, and runs if it is sent again */
  readonly brokenOff?: boolean;
  readonly call: RunningCall;
}

const CUT = failure('unavailable', 'The streams of the call were cut, and nothing of it was kept.');

/** The outcome of a call, or that it may be sent again, if its function may run again and failed because its streams were cut. */
export function orAgain(found: RegisteredFunction, outcome: Outcome, upload: Upload | undefined): Outcome {
  if (!upload?.failed || outcome.ok || outcome.code !== 'stream_cut') return outcome;
  const { cause } = upload.failed;
  // it would be so again
  if (cause instanceof SealwireError && cause.code === 'bad_payload') return outcome;
  return found.exactlyOnce || found.idempotent || found.resumable ? CUT : outcome;
}

/** Runs a function with all that stands before it. It never throws: whatever happens is an outcome. */
export async function invoke(
  found: RegisteredFunction,
  { module, arrival, sealed, audience, upload }: OpenedCalls,
  call: Call,
  progress: (value: unknown) => void,
  transaction: unknown,
): Promise<Settled> {
  const { origin, resumable = false } = found;
  const context = { transaction, session: sealed?.session, arrival, origin };
  const inside = { ...context, sent: call, resumable, audience, progress };
  const running = new RunningCall(module.path, call.name, call.args, inside);
  let settled: Settled;
  let value: unknown;
  try {
    value = await found.invoke(running);
    const saved = running.save();
    if (saved) {
      holdStreams(value);
      await saved;
    }
    settled = { outcome: running.written() ?? { ok: true, value }, thrown: running.thrown, call: running };
  } catch (error) {
    settled = settledOf(error, running);
  }
  if (upload?.failed) {
    const failed = failureOf(upload.failed);
    const { outcome } = settled;
    // nothing of it is kept, whatever the function made of what it had; why it failed it may say itself, if no cut is the reason
    if (found.exactlyOnce && (outcome.ok || failed.code === 'stream_cut'))
      settled = { outcome: failed, thrown: true, brokenOff: true, call: running };
    settled = { ...settled, outcome: orAgain(found, settled.outcome, upload) };
  }
  const { outcome } = settled;
  if (!outcome.ok || outcome.value !== value) letGoStreams(value, cancelled('The value is not sent.'));
  try {
    running.settle(settled.outcome);
  } catch (error) {
    report(found, error);
  }
  return settled;
}

/** Logs what a function threw and its caller learns nothing of. */
export function report({ origin }: RegisteredFunction, thrown: unknown): void {
  logger.error(thrown instanceof Error ? thrown : `${origin} threw ${inspect(thrown)}`);
}

/** A filter may have answered, unless the error says itself what the caller is told. */
function settledOf(error: unknown, call: RunningCall): Settled {
  const abort = call.abortOf(error);
  if (abort) return { outcome: failureOf(abort), thrown: true, brokenOff: true, call };
  const written = error instanceof RemoteFunctionError ? undefined : call.written();
  const outcome = written ?? failureOf(error);
  if (outcome !== INTERNAL || written) return { outcome: notRun(outcome, call), thrown: true, call };
  return { outcome, thrown: true, unexpected: error ?? new Error('thrown without a value'), call };
}

/** Tells a client whose token a guard refused that it may try another one: the function did not run. */
function notRun(outcome: Outcome, call: RunningCall): Outcome {
  if (outcome.ok || call.admitted) return outcome;
  const details = outcome.details as { readonly status?: unknown } | undefined;
  return details?.status === 401 ? { ...outcome, details: { ...details, ran: false } } : outcome;
}
