import { ɵFRAME_LAYOUT } from '@sealwire/client';
import type { Exchange, WireBody } from './exchange.js';

/** A part of a body, as its length was made. */
export interface Segment {
  readonly kind: 'header' | 'random' | 'readable' | 'payload' | 'padding' | 'sealed' | 'tag';
  readonly label: string;
  readonly bytes: number;
}

const { header, tag: TAG, chunkHead, prefix, padded, sealed } = ɵFRAME_LAYOUT;
/** of the frame types 1 to 4 */
const STEPS = [undefined, sealed.start, sealed.startAnswer, sealed.finish, sealed.finishAnswer];

/** Bit 1 of the flags of a message: its pieces are used as they arrive. */
export function isLive(head: Uint8Array): boolean {
  return ((head[2] ?? 0) & 2) !== 0;
}

/** Whether a payload of that length makes that body. */
export function fits(payload: number, body: WireBody): boolean {
  return padded(payload) === layoutOf(body).plain;
}

/** Bytes of a message around its padded payload, and of that. */
function layoutOf({ size, head, pieceCount }: WireBody): { header: number; tags: number; plain: number } {
  const clear = header(head[0] === 0x11 ? 'call' : 'result');
  const tags = pieceCount > 0 ? pieceCount * (chunkHead + TAG) : TAG;
  return { header: clear, tags, plain: size - clear - tags };
}

/** Where the bytes of a body go: header, payload, padding, tag. The application knows the payload; a proxy sees only the sum. */
export function segmentsOf(exchange: Exchange, side: 'request' | 'answer'): readonly Segment[] {
  const body = exchange[side]?.body;
  if (!body || body.size === 0) return [];
  const segments = stepSegments(exchange, side, body) ?? messageSegments(body);
  return segments.filter(({ bytes }) => bytes > 0);
}

function messageSegments(body: WireBody): Segment[] {
  const { size, head, pieceCount, payload } = body;
  if (head[1] !== 1 || (head[0] !== 0x11 && head[0] !== 0x12)) {
    return [{ kind: 'readable', label: 'readable', bytes: size }];
  }
  const { header, tags, plain } = layoutOf(body);
  const tag: Segment = { kind: 'tag', label: pieceCount > 0 ? 'chunk heads and tags' : 'tag', bytes: tags };
  const first: Segment = { kind: 'header', label: 'header', bytes: Math.min(header, size) };
  if (plain <= 0) return [first];
  // each piece of a live message is padded by itself
  const prefixes = isLive(head) ? pieceCount * prefix : prefix;
  if (payload === undefined || prefixes + payload > plain) {
    return [first, { kind: 'sealed', label: 'sealed and padded', bytes: plain }, tag];
  }
  const inside = prefixes + payload;
  return [
    first,
    { kind: 'payload', label: 'payload', bytes: inside },
    { kind: 'padding', label: 'padding', bytes: plain - inside },
    tag,
  ];
}

/** Steps of a handshake; undefined for any other body. What is sealed has a fixed order (PROTOCOL.md sections 3.2 to 3.5). */
function stepSegments({ firstCalls }: Exchange, side: 'request' | 'answer', body: WireBody): Segment[] | undefined {
  const { head, size, fields } = body;
  const type = head[1] === 1 ? head[0] : undefined;
  if (type === undefined || type > 4 || (type % 2 === 1) !== (side === 'request')) return undefined;
  const clear = fields.filter(({ name }) => name !== 'sealed' && name !== 'tag' && name !== 'cut');
  const bytes = clear.reduce((sum, { length }) => sum + length, 0);
  const head0: Segment = { kind: 'header', label: 'clear: keys, cookie', bytes };
  const tag: Segment = { kind: 'tag', label: 'tag', bytes: TAG };
  const first = Object.entries(STEPS[type] ?? {}).map(
    ([label, length]): Segment => ({ kind: label === 'terms' ? 'payload' : 'random', label, bytes: length }),
  );
  const rest = size - bytes - TAG - first.reduce((sum, one) => sum + one.bytes, 0);
  if (type === 1) return [head0, ...first, padding('options', rest), tag];
  if (type === 2) return [head0, ...first, { kind: 'payload', label: 'session id, options', bytes: rest }, tag];
  if (type === 4) return [head0, ...first, { kind: 'sealed', label: 'answers, padded', bytes: rest }, tag];
  const inside = 2 + firstCalls.reduce((sum, one) => sum + prefix + one, 0);
  const renewals = rest - padded(inside);
  if (renewals < padded(0))
    return [head0, ...first, { kind: 'sealed', label: 'renewals, first calls', bytes: rest }, tag];
  return [
    head0,
    ...first,
    { kind: 'sealed', label: 'renewals, padded', bytes: renewals },
    { kind: 'payload', label: 'first calls', bytes: prefix + inside },
    padding('padding', padded(inside) - prefix - inside),
    tag,
  ];
}

function padding(label: string, bytes: number): Segment {
  return { kind: 'padding', label, bytes };
}
