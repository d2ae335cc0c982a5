import { Connection, type ConnectionState } from './connection.js';

/** Why a client made a new session in place of an old one. */
export type RenewalReason =
  | 'session_unknown'
  | 'session_ended'
  | 'number_conflict'
  | 'numbers_used_up'
  /** nothing was called for so long that the server may be about to end the session */
  | 'idle'
  /** the session's lifetime is almost over */
  | 'lifetime';

/** Events under the calls. Session ids are hexadecimal. */
export interface RemoteEvents {
  /** a handshake begins */
  connecting: Readonly<Record<never, never>>;
  /** a handshake is complete */
  opened: {
    readonly sessionId: string;
    readonly lane: number;
    /** from step 1 to step 2 */
    readonly roundTripMs: number;
    /** of steps 1 to 4 */
    readonly frameBytes: readonly [number, number, number, number];
  };
  /** the session of an earlier page goes on, without a handshake; `roundTripMs` is that of its own */
  restored: { readonly sessionId: string; readonly lane: number; readonly roundTripMs: number };
  /** the server goes on with the same session in another lane, for example after a restart */
  resumed: { readonly sessionId: string; readonly lane: number };
  /** follows `opened` if the new session replaced one */
  renewed: { readonly oldSessionId: string; readonly sessionId: string; readonly reason: RenewalReason };
  /** a handshake step or a call was not answered, or by nothing that opens, and goes out again */
  retrying: {
    readonly what: 'handshake' | 'call';
    /** how often these bytes were sent */
    readonly attempt: number;
    /** HTTP status; undefined if no answer came */
    readonly status: number | undefined;
    readonly cause: unknown;
  };
  /** the device is offline (`navigator.onLine`): calls wait, within their time, and nothing is sent until it is online */
  offline: Readonly<Record<never, never>>;
  /** an answer opened again, after `retrying`, `offline`, `rested` or `refused` */
  answered: Readonly<Record<never, never>>;
  /** after `connecting`, `retrying` or `offline` the last call ended, so that nothing is tried any more */
  rested: Readonly<Record<never, never>>;
  /** a resumable stream was cut, or could not go on yet, and its function is called once more to go on with it */
  resuming: {
    readonly functionName: string;
    /** the one that the call gave out; undefined if nobody holds it any more */
    readonly stream: object | undefined;
    /** how often since something of the stream arrived */
    readonly attempt: number;
    readonly cause: unknown;
  };
  /** a stream that was cut goes on */
  streamResumed: { readonly functionName: string; readonly stream: object | undefined };
  /** a handshake was refused, with the code of an unsealed answer or `policy` */
  refused: { readonly code: string; readonly cause: unknown };
  /** `$close()` was called */
  closed: { readonly sessionId: string | undefined };
  /** `$connection` is another one */
  connection: ConnectionState;
}

/** A function that hears one kind of event of {@link RemoteEvents}. */
export type RemoteListener<K extends keyof RemoteEvents> = (event: RemoteEvents[K]) => void;

export class EventHub {
  readonly connection = new Connection();
  /** A function that is added twice is two listeners. */
  readonly #listeners = new Map<keyof RemoteEvents, Set<{ readonly hear: (event: never) => void }>>();

  /** @returns a function that removes the listener */
  on<K extends keyof RemoteEvents>(name: K, listener: RemoteListener<K>): () => void {
    const listeners = this.#listeners.get(name) ?? new Set();
    const added = { hear: listener };
    this.#listeners.set(name, listeners.add(added));
    return () => {
      listeners.delete(added);
    };
  }

  /** Tells it once, however many calls wait. */
  offline(): void {
    if (!this.connection.isOffline) this.emit('offline', {});
  }

  emit<K extends keyof RemoteEvents>(name: K, event: RemoteEvents[K]): void {
    const listeners = this.#listeners.get(name);
    // those that are added while it is told hear the next one
    for (const one of [...(listeners ?? [])]) if (listeners?.has(one)) told(one.hear as RemoteListener<K>, event);
    if (name !== 'connection' && this.connection.follow(name, event)) this.emit('connection', this.connection.state);
  }
}

/** Tells the application. What it throws is reported as uncaught, as with EventTarget, without harm to the call under way. */
export function told<T>(hook: (event: T) => void, event: T): void {
  try {
    hook(event);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
