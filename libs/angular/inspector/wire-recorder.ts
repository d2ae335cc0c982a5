import { computed, Injectable, type Signal, signal, untracked } from '@angular/core';
import type { Remote, Transport } from '@sealwire/client';
import type { Exchange, Handshake, RecordedCall, Tampering } from './exchange.js';
import { type Between, recordingTransport } from './recording.js';
import { watchedRemote } from './watched.js';
import { WireLog } from './wire-log.js';

/** What is missing where nothing will ever be recorded. */
export const UNATTACHED = 'Nothing is recorded: add withInspector() to provideSealwire().';
const ALWAYS = (): boolean => true;

/**
 * Writes down what the application calls and what travels for it, side by side: the last 200 of each, at most 4096 bytes of each
 * body, in memory only. It opens nothing and has no keys. What was recorded under a SecureKey is gone when the
 * application has another one, or none.
 *
 * @example
 * import { Component, inject } from '@angular/core';
 * @Component({ selector: 'app-wire', template: '{{ recorder.exchanges().length }} messages' })
 * class Wire {
 *   readonly recorder = inject(WireRecorder);
 * }
 */
@Injectable({ providedIn: 'root' })
export class WireRecorder {
  /** what travelled, the oldest first */
  readonly exchanges: Signal<readonly Exchange[]>;
  /** what the application called, the oldest first */
  readonly calls: Signal<readonly RecordedCall[]>;
  readonly handshakes: Signal<readonly Handshake[]>;
  /** true: what passes is not written down */
  readonly paused: Signal<boolean>;
  /** false: nothing hands anything over to it, as `withInspector()` does */
  readonly attached: Signal<boolean>;
  /** What stands between the application and the server; {@link WireAttacks} does. */
  between: Between | undefined;
  readonly #log = new WireLog();
  readonly #paused = signal(false);
  readonly #attached = signal(false);
  /** a call inside an effect must not make it depend on the recorder */
  readonly #isPaused = (): boolean => untracked(this.#paused);

  constructor() {
    this.exchanges = this.#log.exchanges.all;
    this.calls = this.#log.calls.all;
    this.handshakes = this.#log.handshakes.all;
    this.paused = computed(() => this.#paused());
    this.attached = computed(() => this.#attached());
  }

  /** Exchanges that are kept, and calls (default 200). */
  set limit(limit: number) {
    this.#log.limit = limit;
  }

  pause(): void {
    this.#paused.set(true);
  }

  resume(): void {
    this.#paused.set(false);
  }

  /** Forgets all that was recorded. */
  clear(): void {
    this.#log.clear();
  }

  /**
   * A transport that carries the same bytes as the given one, no sooner and no later, and is recorded.
   *
   * @param module path, shown with each message
   * @param isCurrent false, as of a signal, as soon as nothing of it may be shown any more: its user is gone
   */
  record(inner: Transport, module: string, isCurrent: () => boolean = ALWAYS): Transport {
    this.attach();
    const options = { isPaused: this.#isPaused, between: () => this.between };
    return recordingTransport(this.#log, inner, { module, isCurrent }, options);
  }

  /**
   * A remote that does what the given one does, and whose calls are recorded.
   *
   * @param follow false for another face of a remote that is watched already, as `onSession` and `refresh` are given one
   * @param isCurrent as of `record`
   */
  watch<Api>(remote: Remote<Api>, module: string, follow = true, isCurrent: () => boolean = ALWAYS): Remote<Api> {
    this.attach();
    if (follow) {
      remote.$events.on('closed', () => this.#log.tidy());
      remote.$events.on('opened', ({ sessionId }) => this.#opened(module, { sessionId }));
      remote.$events.on('renewed', ({ reason }) => this.#opened(module, { reason }));
    }
    return watchedRemote(this.#log, remote, { module, isCurrent }, this.#isPaused);
  }

  /** Says of a recorded exchange what was done to it on the way. */
  mark(exchange: number | undefined, tampering: Tampering): void {
    this.#log.exchanges.change(exchange, { tampering });
  }

  /** @returns what the function gives, as soon as it gives something; it is asked again after each change */
  until<T>(look: () => T | undefined): Promise<T> {
    return this.#log.until(look);
  }

  /** Says that what is called will be recorded. */
  attach(): void {
    if (!untracked(this.#attached)) this.#attached.set(true);
  }

  /** The newest handshake of the module is the one that was completed. */
  #opened(module: string, changes: Partial<Handshake>): void {
    const newest = untracked(this.handshakes).findLast((one) => one.module === module);
    this.#log.handshakes.change(newest?.id, changes);
  }
}
