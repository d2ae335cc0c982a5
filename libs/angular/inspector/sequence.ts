import type { Exchange, Handshake } from './exchange.js';
import { bytes, time } from './theme.js';

/** One name that travels in a step. */
export interface Pill {
  readonly text: string;
  /** in the clear, sealed, or one of the random keys and numbers, which are sealed too */
  readonly kind: 'clear' | 'sealed' | 'secret' | 'number';
}

export interface Placed extends Pill {
  readonly x: number;
  readonly y: number;
  readonly width: number;
}

/** One arrow of the diagram. */
export interface Step {
  readonly n: number;
  readonly title: string;
  readonly toServer: boolean;
  readonly note: string;
  readonly y: number;
  readonly clear: readonly Placed[];
  readonly sealed: readonly Placed[];
  /** where the row of what is sealed begins */
  readonly sealedY: number;
  /** the same as a sentence */
  readonly spoken: string;
}

/** A diagram of one handshake, as wide as it is shown. */
export interface Sequence {
  readonly handshake: Handshake;
  readonly title: string;
  readonly steps: readonly Step[];
  readonly width: number;
  readonly height: number;
}

const CLEAR: readonly (readonly string[])[] = [
  ['e_c', 'ek_c', 'key names'],
  ['e_s', 'KEM ciphertext', 'cookie'],
  ['salt', 'cookie'],
  ['e_f'],
];
const SEALED: readonly (readonly string[])[] = [
  ['C1', 'A', 'options'],
  ['S1', 'A', 'session id', 'options'],
  ['C2', 'B', 'renewals', 'first calls'],
  ['S2', 'B', 'terms', 'first answers'],
];
const TITLES = ['start', 'answer', 'finish', 'done'];

const [TOP, LABEL, ROW, GAP, EDGE, PREFIX] = [48, 40, 28, 24, 16, 56];
const [PILL_PAD, CHARACTER, PILL_GAP] = [18, 7, 6];

/** Draws what was recorded of a handshake. */
export function sequenceOf(handshake: Handshake, exchanges: readonly Exchange[], width: number): Sequence {
  const own = exchanges.filter((exchange) => exchange.handshake === handshake.id);
  const start = own.findLast(({ kind }) => kind === 'start');
  const finish = own.findLast(({ kind }) => kind === 'finish');
  const from = start?.startedAt ?? handshake.startedAt;
  const moments = [start, finish].flatMap((exchange) => {
    if (!exchange) return [undefined, undefined];
    const began = exchange.startedAt - from;
    const answered = exchange.answer?.body.complete ? exchange : undefined;
    return [
      { at: began, size: exchange.request.body.size },
      answered && { at: began + (answered.ms ?? 0), size: answered.answer?.body.size ?? 0 },
    ];
  });
  const steps: Step[] = [];
  let y = TOP;
  moments.forEach((moment, i) => {
    if (!moment) return;
    const note = `${time(moment.at)}, ${bytes(moment.size)}`;
    const sent = finish?.firstCalls.length ?? 0;
    const step = draw(i, note, y, width, sent);
    steps.push(step.step);
    y = step.end;
  });
  const { module, reason } = handshake;
  const isBroken = [start, finish].some((one) => one?.state === 'failed' || one?.state === 'closed');
  const why = reason === undefined ? 'connect' : `renewed (${reason.replaceAll('_', ' ')})`;
  const title = `${module}: ${isBroken ? 'broken off' : why}`;
  return { handshake, title, steps, width, height: y };
}

function draw(i: number, note: string, y: number, width: number, firstCalls: number): { step: Step; end: number } {
  const calls = `${firstCalls} first ${firstCalls === 1 ? 'call' : 'calls'}`;
  const inside = (SEALED[i] ?? []).map((text) => (text === 'first calls' && firstCalls > 0 ? calls : text));
  const clear = flow((CLEAR[i] ?? []).map(pill(false)), y + LABEL, width);
  const sealedY = clear.end;
  const sealed = flow(inside.map(pill(true)), sealedY, width);
  const title = TITLES[i] ?? '';
  const toServer = i % 2 === 0;
  const way = toServer ? 'from the application to the server' : 'from the server to the application';
  const spoken = `Step ${i + 1} ${way}, ${note}. Visible: ${CLEAR[i]?.join(', ')}. Sealed: ${inside.join(', ')}.`;
  const step = { n: i + 1, title, toServer, note, y, clear: clear.placed, sealed: sealed.placed, sealedY, spoken };
  return { step, end: sealed.end + GAP };
}

function pill(isSealed: boolean): (text: string) => Pill {
  return (text) => {
    if (!isSealed) return { text, kind: 'clear' };
    if (/^[CS][12]$/.test(text)) return { text, kind: 'secret' };
    return { text, kind: /^[AB]$/.test(text) ? 'number' : 'sealed' };
  };
}

/** Sets pills side by side, in as many rows as they need. */
function flow(pills: readonly Pill[], y: number, width: number): { placed: Placed[]; end: number } {
  const left = EDGE + PREFIX;
  let [x, top] = [left, y];
  const placed = pills.map((one) => {
    const wide = one.text.length * CHARACTER + PILL_PAD;
    if (x > left && x + wide > width - EDGE) [x, top] = [left, top + ROW];
    const at = { ...one, x, y: top, width: wide };
    x += wide + PILL_GAP;
    return at;
  });
  return { placed, end: top + ROW };
}
