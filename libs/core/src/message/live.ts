import { concat, erase, u32 } from '../bytes.js';
import { SealwireError } from '../errors.js';
import { aeadKey, expand, PROTOCOL_VERSION, type Random } from '../handshake/key-schedule.js';
import { LIMITS, SIZE } from '../limits.js';
import {
  CALL_LABEL,
  type CallFrame,
  type CallNumber,
  CHUNK_HEAD,
  chunkNonce,
  FLAGS_LIVE,
  FRAME_TYPE,
  type MessageKey,
  parseHead,
  RESULT_LABEL,
} from './message.js';
import { padInto, padLength, unpad } from './padding.js';

/** In the head of a piece: it is the last one. Its nonce says the same. */
const LAST = 0x800000;
/** A padded piece has 64 bytes at least. */
const LEAST = 64 + SIZE.tag;
const MOST = LIMITS.chunk + SIZE.tag;

/** Key and nonces of one live message in one direction. */
class Pieces {
  private index = 0;
  private readonly block: Uint8Array;
  readonly primitives: MessageKey['primitives'];
  readonly aes: Uint8Array;
  private readonly mask: Uint8Array;
  done = false;

  constructor(
    key: MessageKey,
    label: Uint8Array,
    readonly ad: Uint8Array,
  ) {
    this.primitives = key.primitives;
    this.block = expand(key.primitives, key.secret, label, ad);
    ({ key: this.aes, nonce: this.mask } = aeadKey(this.block, key.keySize));
  }

  nonce(last: boolean): Uint8Array {
    if (this.done || this.index >= LIMITS.chunksPerMessage) throw new SealwireError('bad_frame');
    return chunkNonce(this.mask, this.index++, last);
  }

  end(): void {
    this.done = true;
    erase(this.block, this.aes, this.mask);
  }
}

/** Seals the pieces of one live message in one direction (PROTOCOL.md, live messages). */
export class LiveSealer {
  /** @internal */
  constructor(
    /** 36 bytes of a call, 12 of a result; they are sent first */
    readonly header: Uint8Array,
    private readonly pieces: Pieces,
  ) {}

  /**
   * @param body 0 to `pieceBody` bytes
   * @returns u24 head || sealed piece, in memory of its own
   * @throws SealwireError `bad_frame` after the last piece
   * @example response.write(sealer.seal(encodeUnit(UNIT.item, 0, encodeValue(1n)), false));
   */
  seal(body: Uint8Array, last: boolean): Uint8Array {
    return this.sealPadded(newChunk(body), last);
  }

  /** @internal `chunk`: room for head and tag around the padded body */
  sealPadded(chunk: Uint8Array, last: boolean): Uint8Array {
    const { primitives, aes, ad } = this.pieces;
    const sealed = chunk.subarray(CHUNK_HEAD);
    chunk.set(u32(sealed.length | (last ? LAST : 0)).subarray(1));
    primitives.seal(aes, this.pieces.nonce(last), ad, sealed.subarray(0, sealed.length - SIZE.tag), sealed);
    if (last) this.erase();
    return chunk;
  }

  /** Nothing can be sealed any more. */
  erase(): void {
    this.pieces.end();
  }
}

/** Room for a whole chunk with the padded body in it. */
function newChunk(body: Uint8Array): Uint8Array {
  if (body.length > LIMITS.pieceBody) throw new RangeError(`a piece holds ${LIMITS.pieceBody} bytes at most`);
  const length = padLength(body.length);
  const chunk = new Uint8Array(CHUNK_HEAD + length + SIZE.tag);
  padInto(chunk.subarray(CHUNK_HEAD, CHUNK_HEAD + length), body);
  return chunk;
}

/**
 * Begins a live call. `first` is sent first: header and first chunk, of which the digest of the call is made.
 * @example
 * const { sealer, first } = sealLiveCall(key, { epoch: 0, sessionId, number }, random, body, false);
 */
export function sealLiveCall(
  key: MessageKey,
  call: { epoch: number; sessionId: Uint8Array; number: CallNumber },
  random: Random,
  firstBody: Uint8Array,
  last: boolean,
): { sealer: LiveSealer; first: Uint8Array } {
  return begin(random, firstBody, last, (salt) => {
    const head = Uint8Array.of(FRAME_TYPE.call, PROTOCOL_VERSION, FLAGS_LIVE, call.epoch);
    const header = concat(head, call.sessionId, u32(call.number.lane), u32(call.number.counter), salt);
    return { header, pieces: new Pieces(key, CALL_LABEL, header) };
  });
}

/** Begins a live result, which opens for the call of that header only. */
export function sealLiveResult(
  key: MessageKey,
  result: { epoch: number; callHeader: Uint8Array },
  random: Random,
  firstBody: Uint8Array,
  last: boolean,
): { sealer: LiveSealer; first: Uint8Array } {
  return begin(random, firstBody, last, (salt) => {
    const header = concat(Uint8Array.of(FRAME_TYPE.result, PROTOCOL_VERSION, FLAGS_LIVE, result.epoch), salt);
    return { header, pieces: new Pieces(key, RESULT_LABEL, concat(header, result.callHeader)) };
  });
}

/** The salt depends on the first padded piece, as that of every message does on its plaintext. */
function begin(
  random: Random,
  firstBody: Uint8Array,
  last: boolean,
  open: (salt: Uint8Array) => { header: Uint8Array; pieces: Pieces },
): { sealer: LiveSealer; first: Uint8Array } {
  const chunk = newChunk(firstBody);
  const padded = chunk.subarray(CHUNK_HEAD, chunk.length - SIZE.tag);
  const { header, pieces } = open(random(SIZE.salt, padded));
  const sealer = new LiveSealer(header, pieces);
  return { sealer, first: concat(header, sealer.sealPadded(chunk, last)) };
}

/** Whether a frame that begins so is a live call or result. Nothing of it is authenticated. */
export function isLive(frameHead: Uint8Array): boolean {
  const [type, , flags] = frameHead;
  return flags === FLAGS_LIVE && (type === FRAME_TYPE.call || type === FRAME_TYPE.result);
}

/**
 * Opens the pieces of a live message as their bytes arrive, cut anywhere. After an error it opens nothing more.
 * @example
 * const opener = openLiveResult(key, callHeader, head);
 * for await (const bytes of body) for (const piece of opener.push(bytes)) take(units.push(piece));
 * opener.end();
 */
export class LiveOpener {
  private failed: unknown;
  /** head of the next chunk as far as it came */
  private readonly head = new Uint8Array(CHUNK_HEAD);
  private headLength = 0;
  /** the next piece, if it does not come whole */
  private part: Uint8Array | undefined;
  private partLength = 0;

  /** @internal */
  constructor(private readonly pieces: Pieces) {}

  /** The last piece has opened. */
  get ended(): boolean {
    return this.pieces.done && this.failed === undefined;
  }

  /**
   * @returns bodies of the pieces that are complete with these bytes; views of memory that nothing else uses
   * @throws SealwireError `open_failed`, `bad_frame` or `bad_payload`
   */
  push(bytes: Uint8Array): Uint8Array[] {
    if (this.failed !== undefined) throw this.failed;
    try {
      return this.take(bytes);
    } catch (error) {
      this.failed = error;
      this.pieces.end();
      throw error;
    }
  }

  /** The bytes are at their end. @throws SealwireError `stream_cut` unless the last piece has opened */
  end(): void {
    if (this.failed !== undefined) throw this.failed;
    if (this.pieces.done) return;
    this.pieces.end();
    this.failed = new SealwireError('stream_cut');
    throw this.failed;
  }

  private take(bytes: Uint8Array): Uint8Array[] {
    const bodies: Uint8Array[] = [];
    let at = 0;
    while (at < bytes.length) {
      if (this.pieces.done) throw new SealwireError('bad_frame');
      while (this.headLength < CHUNK_HEAD && at < bytes.length) this.head[this.headLength++] = bytes[at++] as number;
      if (this.headLength < CHUNK_HEAD) break;
      const [high = 0, middle = 0, low = 0] = this.head;
      const length = ((high & 0x7f) << 16) | (middle << 8) | low;
      if (length < LEAST || length > MOST) throw new SealwireError('bad_frame');
      const missing = length - this.partLength;
      const arrived = bytes.subarray(at, at + missing);
      at += arrived.length;
      let sealed = arrived;
      if (arrived.length < length) {
        this.part ??= new Uint8Array(length);
        this.part.set(arrived, this.partLength);
        this.partLength += arrived.length;
        if (arrived.length < missing) break;
        sealed = this.part;
      }
      bodies.push(this.open(sealed, (high & 0x80) !== 0));
      this.part = undefined;
      this.headLength = this.partLength = 0;
    }
    return bodies;
  }

  private open(sealed: Uint8Array, last: boolean): Uint8Array {
    const { primitives, aes, ad } = this.pieces;
    const body = unpad(primitives.open(aes, this.pieces.nonce(last), ad, sealed));
    if (last) this.pieces.end();
    return body;
  }
}

/** @param call of `parseCall`, with `live` set; bytes behind the header are pushed */
export function openLiveCall(key: MessageKey, call: CallFrame): LiveOpener {
  if (!call.live) throw new SealwireError('bad_frame');
  return new LiveOpener(new Pieces(key, CALL_LABEL, call.header));
}

/** @param resultHeader the first 12 bytes of the answer. @throws SealwireError `bad_frame` or `version` */
export function openLiveResult(key: MessageKey, callHeader: Uint8Array, resultHeader: Uint8Array): LiveOpener {
  const header = resultHeader.slice(0, SIZE.resultHeader);
  if (!parseHead(header, FRAME_TYPE.result, SIZE.resultHeader).live) throw new SealwireError('bad_frame');
  return new LiveOpener(new Pieces(key, RESULT_LABEL, concat(header, callHeader)));
}
