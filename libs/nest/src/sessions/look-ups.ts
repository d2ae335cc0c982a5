import { SealwireError } from '@sealwire/core';
import type { Session } from './session.js';

const AT_ONCE = 8;
const WAITING = 256;
const REMEMBERED_MS = 1_000;

/**
 * Copies of sessions that the store was asked for because a frame names them. Anybody who saw an id can send such frames, so the
 * store is asked a few at a time, and about one id once a second, found or not.
 */
export class LookUps {
  readonly #known = new Map<string, Promise<Session | undefined>>();
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(private readonly find: (id: Uint8Array) => Promise<Session | undefined>) {}

  /** @throws SealwireError `busy` */
  get(key: string, id: Uint8Array): Promise<Session | undefined> {
    const known = this.#known.get(key);
    if (known) return known;
    const answer = this.#ask(id.slice());
    this.#known.set(key, answer);
    answer.then(
      (session) => {
        setTimeout(() => {
          // adopted or forgotten meanwhile
          if (this.#known.get(key) !== answer) return;
          this.#known.delete(key);
          session?.release();
        }, REMEMBERED_MS).unref();
      },
      () => this.#known.delete(key),
    );
    return answer;
  }

  /** The copy goes on as the session of this process, or is erased: it may be another one now. */
  forget(key: string, adopted = false): void {
    const answer = this.#known.get(key);
    this.#known.delete(key);
    if (!adopted) answer?.then((session) => session?.release()).catch(() => undefined);
  }

  async #ask(id: Uint8Array): Promise<Session | undefined> {
    if (this.#running >= AT_ONCE) {
      if (this.#waiting.length >= WAITING) throw new SealwireError('busy');
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else this.#running += 1;
    try {
      return await this.find(id);
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#running -= 1;
    }
  }
}
