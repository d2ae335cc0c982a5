import { readU16, readU32 } from '../bytes.js';
import { SealwireError } from '../errors.js';
import { LIMITS, SIZE } from '../limits.js';
import { decodeReply, type MessageStatus } from '../payload/calls.js';
import { encodeValue } from '../payload/cbor-encode.js';

/** Kinds of units (PROTOCOL.md, live messages). */
export const UNIT = {
  payload: 0,
  outcome: 1,
  data: 2,
  item: 3,
  end: 4,
  error: 5,
  progress: 6,
  pulse: 7,
  status: 8,
  run: 9,
} as const;
/** A kind of {@link UNIT}. */
export type UnitKind = (typeof UNIT)[keyof typeof UNIT];

/** One unit of a live message. */
export interface Unit {
  readonly kind: UnitKind;
  /** of an outcome and of progress the call's place in its batch; of payload, pulse, status and run 0 */
  readonly stream: number;
  /** may be a view of the piece that brought it */
  readonly bytes: Uint8Array;
}

/** An error that ends a stream. */
export interface StreamFailure {
  readonly code: string;
  readonly message: string;
  readonly details?: unknown;
}

/**
 * Writes a unit: u8 kind || u16 stream || u32 length || bytes.
 * @example
 * encodeUnit(UNIT.item, 0, encodeValue(1n));
 */
export function encodeUnit(kind: UnitKind, stream: number, bytes: Uint8Array): Uint8Array {
  const unit = new Uint8Array(SIZE.unitHead + bytes.length);
  const { length } = bytes;
  unit.set([kind, stream >>> 8, stream, length >>> 24, length >>> 16, length >>> 8, length]);
  unit.set(bytes, SIZE.unitHead);
  return unit;
}

/**
 * Bytes of an error unit. Details that cannot be sent are left out, and so is half of a character in a text.
 * @example
 * encodeUnit(UNIT.error, 0, encodeFailure({ code: 'not_found', message: 'No such account.' }));
 */
export function encodeFailure({ code, message, details }: StreamFailure): Uint8Array {
  // what was cut inside a character still arrives
  const texts = [code, message].map((text) => text.replace(/\p{Surrogate}/gu, '\uFFFD'));
  try {
    return encodeValue(details === undefined ? texts : [...texts, details]);
  } catch {
    return encodeValue(texts);
  }
}

/** Statuses that a live result may end with: what was sent under it may have run. */
const ENDINGS: ReadonlySet<string> = new Set(['session_ended', 'busy']);

/**
 * Reads the bytes of a status unit.
 * @throws SealwireError `bad_payload` for a status that no live result ends with
 * @example
 * decodeEnding(encodeReply({ status: 'session_ended' })).status; // session_ended
 */
export function decodeEnding(bytes: Uint8Array): MessageStatus {
  const reply = decodeReply(bytes);
  if (!('status' in reply) || !ENDINGS.has(reply.status)) throw new SealwireError('bad_payload');
  return reply;
}

const IN_CALL: ReadonlySet<number> = new Set([UNIT.payload, UNIT.data, UNIT.item, UNIT.end, UNIT.error, UNIT.pulse]);
const IN_RESULT: ReadonlySet<number> = new Set(Object.values(UNIT).filter((kind) => kind !== UNIT.payload));
const EMPTY_UNITS: ReadonlySet<number> = new Set([UNIT.end, UNIT.pulse]);
const OF_MESSAGE: ReadonlySet<number> = new Set([UNIT.payload, UNIT.pulse, UNIT.status, UNIT.run]);
/** Memory for a unit that spans pieces grows with what has arrived. */
const GROWTH = 2 * LIMITS.chunk;

/** Bounds the parts of units of many messages together: takes what is kept more, or less. @throws if too much is kept already */
export type UnitRoom = (bytes: number) => void;

/**
 * Cuts the bodies of the pieces of one live message into units.
 *
 * @param direction a call begins with its payload; a run id stands first in a result, and nothing stands behind a status
 * @param limit bytes of one unit that holds a value
 * @param calls how many outcomes a result has; each comes once, and no progress behind it
 * @param room holds parts of units that span pieces, but for those of a payload
 * @example
 * const units = new UnitReader('call', 1_048_576);
 * for (const { kind, bytes } of units.push(body)) if (kind === UNIT.payload) decodeCalls(bytes);
 */
export class UnitReader {
  readonly #head = new Uint8Array(SIZE.unitHead);
  #headLength = 0;
  #bytes: Uint8Array | undefined;
  #filled = 0;
  /** bytes in the room */
  #held = 0;
  #first = true;
  #closed = false;
  readonly #settled = new Set<number>();

  constructor(
    private readonly direction: 'call' | 'result',
    private readonly limit: number,
    private readonly calls = 0,
    private readonly room?: UnitRoom,
  ) {}

  /** Outcomes that have not come. */
  get missing(): number {
    return this.calls - this.#settled.size;
  }

  /** Nothing is left of a unit that began. */
  get clean(): boolean {
    return this.#headLength === 0;
  }

  /** Nothing more comes: lets go of what is kept of a unit. */
  close(): void {
    this.#bytes = undefined;
    this.#hold(0);
  }

  /** @throws SealwireError `bad_payload`; `too_large` for a value of a result that is above the limit */
  push(body: Uint8Array): Unit[] {
    const units: Unit[] = [];
    let at = 0;
    for (;;) {
      if (this.#headLength < SIZE.unitHead) {
        while (this.#headLength < SIZE.unitHead && at < body.length)
          this.#head[this.#headLength++] = body[at++] as number;
        if (this.#headLength < SIZE.unitHead) return units;
        this.#check();
      }
      const length = readU32(this.#head, 3);
      const arrived = body.subarray(at, at + length - this.#filled);
      at += arrived.length;
      if (arrived.length === length) units.push(this.#unit(arrived));
      else {
        this.#keep(arrived, length);
        if (this.#filled < length) return units;
        units.push(this.#unit((this.#bytes as Uint8Array).subarray(0, length)));
      }
    }
  }

  #unit(bytes: Uint8Array): Unit {
    this.#headLength = this.#filled = 0;
    this.close();
    return { kind: this.#head[0] as UnitKind, stream: readU16(this.#head, 1), bytes };
  }

  #keep(arrived: Uint8Array, length: number): void {
    const needed = this.#filled + arrived.length;
    if (!this.#bytes || this.#bytes.length < needed) {
      const size = Math.min(length, Math.max(GROWTH, 2 * needed));
      if (this.#head[0] !== UNIT.payload) this.#hold(size);
      const larger = new Uint8Array(size);
      if (this.#bytes) larger.set(this.#bytes.subarray(0, this.#filled));
      this.#bytes = larger;
    }
    this.#bytes.set(arrived, this.#filled);
    this.#filled = needed;
  }

  #hold(bytes: number): void {
    this.room?.(bytes - this.#held);
    this.#held = bytes;
  }

  /** Before anything is kept of the unit. */
  #check(): void {
    const kind = this.#head[0] as UnitKind;
    const stream = readU16(this.#head, 1);
    const length = readU32(this.#head, 3);
    const call = this.direction === 'call';
    const taken =
      !this.#closed &&
      (call ? IN_CALL : IN_RESULT).has(kind) &&
      (kind === (call ? UNIT.payload : UNIT.run)) === this.#first &&
      (!OF_MESSAGE.has(kind) || stream === 0) &&
      this.#fits(kind, length) &&
      this.#inBatch(kind, stream);
    if (!taken) throw new SealwireError('bad_payload');
    if (length > this.limit && kind !== UNIT.data) {
      if (call) throw new SealwireError('bad_payload');
      const sentence = `A value of the answer has more than the ${this.limit} bytes of maxResponse.`;
      throw new SealwireError('too_large', sentence);
    }
    this.#first = false;
    if (kind === UNIT.status) this.#closed = true;
  }

  #fits(kind: UnitKind, length: number): boolean {
    if (EMPTY_UNITS.has(kind)) return length === 0;
    if (kind === UNIT.run) return length === SIZE.runId;
    if (kind === UNIT.data) return length > 0 && length <= LIMITS.dataUnit;
    return length > 0;
  }

  #inBatch(kind: UnitKind, call: number): boolean {
    if (kind !== UNIT.outcome && kind !== UNIT.progress) return true;
    if (call >= this.calls || this.#settled.has(call)) return false;
    if (kind === UNIT.outcome) this.#settled.add(call);
    return true;
  }
}
