import type { Message } from '../delivery/message.js';
import { told } from '../events.js';
import type { Progress } from '../remote.js';
import type { LiveBody } from '../transport/body.js';
import { type Hint, lost } from '../transport/hint.js';
import { type Opens, post } from '../transport/transport.js';

/** One request of a call that has streams among its arguments, or whose progress is told. */
export async function exchange(
  message: Message,
  frame: Uint8Array,
  signal: AbortSignal,
  opens: Opens,
): Promise<Uint8Array | LiveBody | Hint> {
  const { upload, delivery, work, tries, numbers } = message;
  const { onProgress } = work.how;
  message.meter ??= onProgress && new Meter(onProgress);
  const { meter } = message;
  try {
    const up = (total: number): void => {
      // parts of a body may leave when another one has begun
      if (!upload || (tries === message.tries && numbers === message.numbers)) meter?.sent(total);
    };
    // the server has the number: the first piece is enough to ask for its result
    const sealed = delivery.settings.transport.uploadProgress ? () => {} : up;
    const body = upload && message.state !== 'running' ? await upload.body(message, sealed) : frame;
    const left = (total: number): void => {
      upload?.moved('left', total);
      up(total);
    };
    if (body instanceof Blob) upload?.leaves(body);
    const answer = await post(delivery.settings, body, signal, opens, upload || meter ? left : undefined);
    if (body instanceof Blob) message.stopped();
    // of a request that broke off nobody knows how much arrived
    const isWhole = !('wait' in answer) || answer.status !== undefined;
    if (isWhole && body instanceof Blob) up(body.size);
    else if (isWhole && body instanceof Uint8Array) up(body.length);
    if (answer instanceof Uint8Array) meter?.received(answer.length);
    return answer;
  } catch (error) {
    return lost(error);
  }
}

/** Tells the application how far a call is. */
export class Meter {
  #up = 0;
  #down = 0;

  constructor(private readonly tell: (progress: Progress) => void) {}

  sent(total: number): void {
    if (total === this.#up) return;
    this.#up = total;
    this.#emit({});
  }

  received(bytes: number): void {
    this.#down += bytes;
    this.#emit({});
  }

  /** @param call place in the batch */
  reported(call: number, value: unknown): void {
    this.#emit({ call, value });
  }

  #emit(more: Partial<Progress>): void {
    told(this.tell, { up: this.#up, down: this.#down, ...more });
  }
}

/** Tells the application which bytes carry its calls. @param asks the frame asks for the result of first calls, and holds none */
export function announce({ work, payload, places, continued }: Message, frame: Uint8Array, asks: boolean): void {
  const { onSent } = work.how;
  if (!onSent) return;
  const calls = continued?.map(({ place }) => place) ?? places;
  told(onSent, { frame, payload: asks ? 0 : payload.length, calls });
}

/** @returns what tells the application what is payload of the next pieces of an upload */
export function sealing({ work }: Message, head: Uint8Array): (payloads: readonly number[]) => void {
  const { onSealed } = work.how;
  let first = 0;
  return (payloads) => {
    if (onSealed) told(onSealed, { head, first, payloads });
    first += payloads.length;
  };
}

/** Tells the application what of a live result is payload. */
export function opened({ work }: Message, head: Uint8Array, pieces: readonly Uint8Array[]): void {
  const { onOpened } = work.how;
  if (onOpened && pieces.length > 0) told(onOpened, { head, payloads: pieces.map(({ length }) => length) });
}
