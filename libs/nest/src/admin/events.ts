import { Injectable, Logger } from '@nestjs/common';
import type { CloseReason } from '../ports/index.js';

/** The events of {@link SealwireEvents}. Ids are hexadecimal. */
export interface SealwireEventMap {
  /** a handshake was finished */
  readonly opened: {
    readonly sessionId: string;
    readonly module: string;
    readonly keyId: string | undefined;
    readonly peer: string;
  };
  /** this process took up a session that was opened before, here or elsewhere */
  readonly resumed: { readonly sessionId: string; readonly module: string };
  /** a finished handshake took the place of older sessions */
  readonly renewed: { readonly sessionId: string; readonly module: string; readonly previous: readonly string[] };
  readonly closed: { readonly sessionId: string; readonly module: string; readonly reason: CloseReason };
  /** the reason is for the operator alone; the client is told nothing */
  readonly handshakeRefused: { readonly module: string; readonly peer: string; readonly reason: string };
}

/**
 * Tells what happens to sessions to whoever injects it.
 *
 * @example
 * import { Injectable, Logger } from '@nestjs/common';
 *
 * @Injectable()
 * export class Audit {
 *   readonly #logger = new Logger('Audit');
 *
 *   constructor(events: SealwireEvents) {
 *     events.on('closed', ({ sessionId, reason }) => this.#logger.log(`Session ${sessionId} ended: ${reason}.`));
 *   }
 * }
 */
@Injectable()
export class SealwireEvents {
  readonly #logger = new Logger('Sealwire');
  readonly #listeners = new Map<keyof SealwireEventMap, Set<(event: never) => void>>();

  /** @returns a function that takes the listener away again */
  on<K extends keyof SealwireEventMap>(name: K, listener: (event: SealwireEventMap[K]) => unknown): () => void {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  /** A listener that throws disturbs nobody else; one that rejects later would otherwise end the process. */
  emit<K extends keyof SealwireEventMap>(name: K, event: SealwireEventMap[K]): void {
    for (const listener of this.#listeners.get(name) ?? []) {
      const listening = async () => (listener as (event: SealwireEventMap[K]) => unknown)(event);
      listening().catch((error) => this.#logger.error(error));
    }
  }
}
