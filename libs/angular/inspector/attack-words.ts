import type { TransportResponse } from '@sealwire/client';
import type { AttackKind, Exchange, RecordedCall, Tampering } from './exchange.js';

const WHAT: Readonly<Record<AttackKind, string>> = {
  'flip-request': 'The proxy flipped one bit of the request.',
  'flip-answer': 'The proxy flipped one bit of this answer before the application got it.',
  'lose-answer': 'The proxy let the call through and threw this answer away.',
  replay: 'The proxy sent the bytes of an earlier call.',
  'swap-answers': 'The proxy exchanged this answer with that of another call.',
  'cut-stream': 'The proxy closed the connection in the middle of the stream.',
  'forge-session-unknown': 'The proxy threw this answer away and wrote 409 session_unknown instead.',
  'wrong-module': 'The proxy delivered the call to another module.',
  splice: 'The proxy put the ciphertext of another call behind this header.',
};

/** Sentences about attacks. */
export const describe = {
  tampering: (kind: AttackKind, side: Tampering['side']): Tampering => ({ kind, side, what: WHAT[kind] }),

  refused: (kind: AttackKind, response: TransportResponse, answer: Uint8Array): string =>
    `${WHAT[kind]} It got back ${status(response, answer)}.`,

  unanswered: (error: unknown): string =>
    `The proxy got no answer to the call that met it: ${(error instanceof Error ? error.message : String(error)).replace(/\.$/, '')}.`,

  held: (kind: AttackKind, response: TransportResponse, answer: Uint8Array): string =>
    WHAT[kind].replace('this answer', `the answer (${status(response, answer)})`),

  swapped: (one: Uint8Array, two: Uint8Array): string =>
    `The proxy exchanged two sealed answers of ${one.length} and ${two.length} bytes.`,

  replayed(response: TransportResponse, answer: Uint8Array, isSame: boolean): string {
    const same = 'the answer of the first time, byte for byte, which only the application that made the call can open';
    return `The proxy sent an earlier call again and got back ${status(response, answer)}${isSame ? `: ${same}` : ''}.`;
  },

  /** What the calls came to, and after how many requests. */
  seen(calls: readonly RecordedCall[], exchanges: readonly Exchange[]): string {
    if (calls.length === 0) return 'Nothing.';
    return calls.map((call) => `${call.name} ${outcome(call)} (${effort(call, exchanges)}).`).join(' ');
  },
};

function outcome({ state, outcome, items }: RecordedCall): string {
  if (state === 'failed') return `failed with ${outcome?.replace(/\.$/, '')}`;
  if (state === 'streaming') return `goes on after ${items} items: the client called again and named its position`;
  return items > 0 ? `gave ${items} items, none missing and none twice` : `gave ${outcome}, once`;
}

function effort({ id, module, ms = 0 }: RecordedCall, exchanges: readonly Exchange[]): string {
  const own = exchanges.filter(({ calls }) => calls.includes(id));
  const from = own[0]?.id ?? Number.POSITIVE_INFINITY;
  const shook = exchanges.some((one) => one.kind === 'start' && one.module === module && one.id > from);
  const requests = `${own.length} ${own.length === 1 ? 'request' : 'requests'}`;
  return `${requests}${shook ? ' and a handshake' : ''}, ${Math.round(ms)} ms`;
}

function status({ status, contentType }: TransportResponse, answer: Uint8Array): string {
  const size = `${answer.length} bytes`;
  if (!contentType.startsWith('application/problem+json')) return `HTTP ${status}, ${size} of ciphertext`;
  try {
    const { code, detail } = JSON.parse(new TextDecoder().decode(answer));
    return `HTTP ${status} ${code} ("${detail}")`;
  } catch {
    return `HTTP ${status}, ${size}`;
  }
}
