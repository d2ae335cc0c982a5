import type { Exchange, WireBody } from './exchange.js';

/** A part of a body, as its length was made. */
export interface Segment {
  readonly kind: 'header' | 'random' | 'readable' | 'payload' | 'padding' | 'sealed' | 'tag';
  readonly label: string;
  readonly bytes: number;
}

const [CALL_HEADER, RESULT_HEADER, TAG, CHUNK_HEAD, LENGTH] = [36, 12, 16, 3, 4];
const [RANDOM, NUMBER, TERMS] = [32, 16, 20];
const SMALLEST = 64;

/** The length that padding gives to n bytes (PROTOCOL.md section 5.3). */
export function padded(n: number): number {
  if (n <= SMALLEST) return SMALLEST;
  const e = Math.floor(Math.log2(n));
  const step = 2 ** (e - Math.floor(Math.log2(e)) - 1);
  return Math.ceil(n / step) * step;
}

/** Whether a payload of that length makes that body. */
export function fits(payload: number, body: WireBody): boolean {
  return padded(LENGTH + payload) === layoutOf(body).plain;
}

/** Bytes of a message around its padded payload, and of that. */
function layoutOf({ size, head, pieceCount }: WireBody): { header: number; tags: number; plain: number } {
  const header = head[0] === 0x11 ? CALL_HEADER : RESULT_HEADER;
  const tags = pieceCount > 0 ? pieceCount * (CHUNK_HEAD + TAG) : TAG;
  return { header, tags, plain: size - header - tags };
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
  if (payload === undefined || LENGTH + payload > plain) {
    return [first, { kind: 'sealed', label: 'sealed and padded', bytes: plain }, tag];
  }
  const inside = LENGTH + payload;
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
  const sealed = size - bytes - TAG;
  const random = (name: string): Segment => ({ kind: 'random', label: name, bytes: RANDOM });
  const number = (name: string): Segment => ({ kind: 'random', label: name, bytes: NUMBER });
  if (type === 1) return [head0, random('C1'), number('A'), padding('options', sealed - RANDOM - NUMBER), tag];
  if (type === 2) {
    const more = sealed - RANDOM - NUMBER;
    return [head0, random('S1'), number('A'), { kind: 'payload', label: 'session id, options', bytes: more }, tag];
  }
  if (type === 4) {
    const more = sealed - RANDOM - NUMBER - TERMS;
    const terms: Segment = { kind: 'payload', label: 'terms', bytes: TERMS };
    return [head0, random('S2'), number('B'), terms, { kind: 'sealed', label: 'answers, padded', bytes: more }, tag];
  }
  const inside = LENGTH + 2 + firstCalls.reduce((sum, one) => sum + LENGTH + one, 0);
  const calls = padded(inside);
  const renewals = sealed - RANDOM - NUMBER - calls;
  if (renewals < SMALLEST) {
    const rest: Segment = { kind: 'sealed', label: 'renewals, first calls', bytes: sealed - RANDOM - NUMBER };
    return [head0, random('C2'), number('B'), rest, tag];
  }
  return [
    head0,
    random('C2'),
    number('B'),
    { kind: 'sealed', label: 'renewals, padded', bytes: renewals },
    { kind: 'payload', label: 'first calls', bytes: inside },
    padding('padding', calls - inside),
    tag,
  ];
}

function padding(label: string, bytes: number): Segment {
  return { kind: 'padding', label, bytes };
}
