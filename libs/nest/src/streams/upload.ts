import { type Call, type Replace, type Revive, runSync, SealwireError } from '@sealwire/core';
import { IncomingStreams, type LiveOpener, UNIT, type Unit, UnitReader } from '@sealwire/core/live';
import { RESERVED, RemoteFunctionError } from '../functions/outcome.js';
import type { Stoppable } from './flights.js';
import { keep } from './kept-values.js';
import type { LiveBody } from './live-body.js';

/** What one call may send in all of its streams. */
interface Allowance {
  readonly limit: number;
  sent: number;
}

/**
 * The streams among the arguments of a live call: read from its body as fast as the function reads them. If the body breaks off,
 * each stream that has not ended fails with `stream_cut`.
 */
export class Upload implements Stoppable {
  /** why a stream that was still wanted did not come to its end */
  failed: Error | undefined;
  /** its first piece opened: whoever sent that has keys */
  keyed = false;
  /** told of each part of the body in which pieces opened, once its calls run */
  alive: (() => void) | undefined;
  readonly #streams: IncomingStreams;
  readonly #units: UnitReader;
  readonly #references = new Map<unknown, readonly unknown[]>();
  #allowances = new Map<unknown, Allowance>();
  #waiting: Unit[] = [];
  #opener: LiveOpener | undefined;
  #payload: Uint8Array | undefined;
  #closed = false;

  /**
   * @param maxBody bytes of the payload, and of one item
   * @param copy makes bytes that are handed to functions
   */
  constructor(
    readonly body: LiveBody,
    maxBody: number,
    copy: (view: Uint8Array) => Uint8Array,
  ) {
    this.#units = new UnitReader('call', maxBody, 0, body.parts);
    const errorOf = ({ code, message, details }: { code: string; message: string; details?: unknown }) => {
      const error = new RemoteFunctionError(RESERVED.has(code) ? 'stream_failed' : code, message, details);
      this.failed ??= error;
      return error;
    };
    this.#streams = new IncomingStreams({ errorOf, decode: { bytes: copy } });
  }

  /** Hook of the decoder. */
  get revive(): Revive {
    const { revive } = this.#streams;
    return (reference) => {
      const value = revive(reference);
      this.#references.set(value, reference as readonly unknown[]);
      return keep(value as object);
    };
  }

  /** Hook of the encoder that gives the reference again by which a stream was announced. */
  get replace(): Replace {
    return (value) => this.#references.get(value);
  }

  /**
   * The payload of the calls, with what is still missing of it.
   * @param opened bodies of the pieces in the head
   * @throws SealwireError `bad_payload`, `open_failed`, `bad_frame`, `busy` or `stream_cut`
   */
  async payload(opener: LiveOpener, opened: readonly Uint8Array[]): Promise<Uint8Array> {
    if (this.#payload) return this.#payload;
    this.#opener = opener;
    this.#push(opened);
    if (this.#waiting.length === 0) {
      await this.body.until((bytes) => {
        this.#push(runSync(opener.push(bytes)));
        return this.#waiting.length > 0;
      });
    }
    const [{ bytes } = { bytes: new Uint8Array(0) }] = this.#waiting.splice(0, 1);
    this.#payload = bytes;
    return bytes;
  }

  /**
   * @param limitOf bytes that all streams of a call may have together
   * @throws SealwireError `bad_payload` if a stream stands elsewhere than in arguments
   */
  allow(calls: readonly Call[], limitOf: (call: Call) => number): void {
    for (const call of calls) {
      const allowance = { limit: limitOf(call), sent: 0 };
      this.#each(call.args, (k) => this.#allowances.set(k, allowance));
    }
    if (this.#allowances.size < this.#references.size) throw new SealwireError('bad_payload');
  }

  /** Begins to read the streams. */
  async start(): Promise<void> {
    try {
      for (;;) {
        for (const unit of this.#waiting.splice(0)) {
          const full = this.#take(unit);
          if (full) await full;
        }
        if (this.#closed) return;
        const bytes = await this.body.next();
        if (this.#closed) return;
        if (!bytes) break;
        this.#push(runSync((this.#opener as LiveOpener).push(bytes)));
      }
      (this.#opener as LiveOpener).end();
      if (!this.#units.clean || this.#streams.open > 0) throw new SealwireError('bad_payload');
    } catch (error) {
      if (!this.#closed) this.#fail(error instanceof RemoteFunctionError ? error : cut(error));
    }
  }

  /** Its session is over. */
  stop(status: 'session_ended' | 'busy'): void {
    this.#fail(cut(new SealwireError(status)));
    this.close();
  }

  /** The calls are over: what nobody read is thrown away. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#units.close();
    this.#opener?.erase();
    this.#streams.fail(new SealwireError('closed', 'The call is over.'));
    this.body.close(this.keyed);
  }

  #push(bodies: readonly Uint8Array[]): void {
    // an empty piece inside of a unit brings nothing of it
    if (bodies.some(({ length }) => length > 0) || (bodies.length > 0 && this.#units.clean)) {
      this.body.alive();
      this.alive?.();
    }
    for (const body of bodies) this.#waiting.push(...this.#units.push(body));
  }

  #take(unit: Unit): void | Promise<void> {
    if (unit.kind === UNIT.pulse) return;
    if (unit.kind === UNIT.data || unit.kind === UNIT.item) this.#charge(unit);
    return this.#streams.accept(unit);
  }

  #charge({ stream, bytes }: Unit): void {
    const allowance = this.#allowances.get(stream);
    if (!allowance) return;
    allowance.sent += bytes.length;
    const { limit } = allowance;
    if (allowance.sent <= limit) return;
    throw new RemoteFunctionError('too_large', `The streams of this call have more than ${limit} bytes.`, { limit });
  }

  #fail(error: Error): void {
    this.#units.close();
    if (this.#streams.list.some(({ ended, cancelled }) => !ended && !cancelled)) this.failed ??= error;
    this.#streams.fail(error);
  }

  /** Calls back with the number of each stream in a value. */
  #each(value: unknown, found: (k: unknown) => void): void {
    if (typeof value !== 'object' || value === null) return;
    const reference = this.#references.get(value);
    if (reference) found(reference[1]);
    else if (value instanceof Map) for (const entry of value) this.#each(entry, found);
    else if (value instanceof Set || Array.isArray(value)) for (const item of value) this.#each(item, found);
    else if (!ArrayBuffer.isView(value)) for (const item of Object.values(value)) this.#each(item, found);
  }
}

/** What is wrong with the bytes on their way is no more to a function than that they are missing. */
function cut(cause: unknown): SealwireError {
  return cause instanceof SealwireError && cause.code === 'stream_cut'
    ? cause
    : new SealwireError('stream_cut', undefined, { cause });
}
