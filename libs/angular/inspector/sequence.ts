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
  /** what came is no frame of this step: the server, or something before it, refused the step before */
  readonly isRefused: boolean;
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
/** first bytes of their answers (PROTOCOL.md section 1.4) */
const ANSWERS: Partial<Record<Exchange['kind'], number>> = { start: 2, finish: 4 };

const [TOP, LABEL, ROW, GAP, EDGE, PREFIX] = [48, 40, 28, 24, 16, 56];
const [PILL_PAD, CHARACTER, PILL_GAP] = [18, 7, 6];

interface Moment {
  readonly note: string;
  readonly isRefused: boolean;
}

/** Draws what was recorded of a handshake. */
export function sequenceOf(handshake: Handshake, exchanges: readonly Exchange[], width: number): Sequence {
  const own = exchanges.filter((exchange) => exchange.handshake === handshake.id);
  const start = own.findLast(({ kind }) => kind === 'start');
  const finish = own.findLast(({ kind }) => kind === 'finish');
  const from = start?.startedAt ?? handshake.startedAt;
  const moments = [start, finish].flatMap((exchange): (Moment | undefined)[] => {
    if (!exchange) return [undefined, undefined];
    const { startedAt, ms = 0, request, answer } = exchange;
    const began = startedAt - from;
    const sent = { note: `${time(began)}, ${bytes(request.body.size)}`, isRefused: false };
    if (!answer?.body.complete) return [sent, undefined];
    const refused = isRefused(exchange);
    const line = refused ? `, ${answer.line}` : '';
    return [sent, { note: `${time(began + ms)}${line}, ${bytes(answer.body.size)}`, isRefused: refused }];
  });
  const steps: Step[] = [];
  let y = TOP;
  moments.forEach((moment, i) => {
    if (!moment) return;
    const step = draw(i, moment, y, width, finish?.firstCalls.length ?? 0);
    steps.push(step.step);
    y = step.end;
  });
  const { module, reason } = handshake;
  const isBroken = [start, finish].some((one) => one && (['failed', 'closed'].includes(one.state) || isRefused(one)));
  const why = reason === undefined ? 'connect' : `renewed (${reason.replaceAll('_', ' ')})`;
  const title = `${module}: ${isBroken ? 'broken off' : why}`;
  return { handshake, title, steps, width, height: y };
}

/** Its whole answer is there, and is no frame of the next step. */
function isRefused({ kind, answer }: Exchange): boolean {
  return answer?.body.complete === true && answer.body.head[0] !== ANSWERS[kind];
}

function draw(i: number, moment: Moment, y: number, width: number, firstCalls: number): { step: Step; end: number } {
  const { note, isRefused } = moment;
  const toServer = i % 2 === 0;
  const way = toServer ? 'from the application to the server' : 'from the server to the application';
  if (isRefused) {
    const spoken = `Step ${i + 1} ${way}: refused, ${note}.`;
    const bare = { title: 'refused', toServer, clear: [], sealed: [], sealedY: y + LABEL, spoken };
    return { step: { n: i + 1, ...moment, y, ...bare }, end: y + LABEL };
  }
  const calls = `${firstCalls} first ${firstCalls === 1 ? 'call' : 'calls'}`;
  const inside = (SEALED[i] ?? []).map((text) => (text === 'first calls' && firstCalls > 0 ? calls : text));
  const clear = flow((CLEAR[i] ?? []).map(pill(false)), y + LABEL, width);
  const sealedY = clear.end;
  const sealed = flow(inside.map(pill(true)), sealedY, width);
  const title = TITLES[i] ?? '';
  const spoken = `Step ${i + 1} ${way}, ${note}. Visible: ${CLEAR[i]?.join(', ')}. Sealed: ${inside.join(', ')}.`;
  const pills = { clear: clear.placed, sealed: sealed.placed, sealedY };
  const step = { n: i + 1, title, toServer, note, isRefused, y, ...pills, spoken };
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
