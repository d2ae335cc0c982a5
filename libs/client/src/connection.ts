import { type RemoteError, remoteError } from './errors.js';
import type { RemoteEvents, RenewalReason } from './events.js';
import { offline } from './transport/network.js';

/** How a remote stands with its server, for a banner. A remote without encryption stays `idle`. */
export type ConnectionState =
  /** nothing was called yet, or nothing waits any more for a server that did not answer */
  | { readonly state: 'idle' }
  /** the first handshake runs */
  | { readonly state: 'connecting' }
  | {
      readonly state: 'open';
      /** hexadecimal */
      readonly sessionId: string;
      /** of the handshake, from step 1 to step 2 */
      readonly roundTripMs: number;
      /** why this session replaced another one */
      readonly renewed?: RenewalReason;
    }
  /** calls wait: no network, no server, or answers that do not open; `cause` says so, also if the device is offline */
  | {
      readonly state: 'waiting';
      /** milliseconds since 1970 */
      readonly since: number;
      /** how often the same bytes were sent by now; 0 while the device is offline */
      readonly attempt: number;
      readonly cause: unknown;
    }
  /** the last handshake was refused; the next call tries again */
  | { readonly state: 'refused'; readonly error: RemoteError };

type Open = Extract<ConnectionState, { state: 'open' }>;

/** The state of a connection as the events tell it. */
export class Connection {
  state: ConnectionState = { state: 'idle' };
  #open: Open | undefined;
  /** made when it is needed: an error costs its stack */
  #offline: unknown;

  get isOffline(): boolean {
    return this.state.state === 'waiting' && this.#offline !== undefined && this.state.cause === this.#offline;
  }

  /** @returns whether the event changed the state */
  follow<K extends keyof RemoteEvents>(name: K, event: RemoteEvents[K]): boolean {
    const next = this.#next[name]?.(event as never);
    if (next === undefined || next === this.state) return false;
    this.state = next;
    return true;
  }

  readonly #next: { readonly [K in keyof RemoteEvents]?: (event: RemoteEvents[K]) => ConnectionState | undefined } = {
    connecting: () =>
      this.state.state === 'idle' || this.state.state === 'refused' ? { state: 'connecting' } : undefined,
    opened: (event) => this.#opened(event),
    restored: (event) => this.#opened(event),
    renewed: ({ reason }) => {
      if (this.#open) this.#open = { ...this.#open, renewed: reason };
      return this.#open;
    },
    retrying: ({ attempt, cause }) => this.#waiting(attempt, cause),
    offline: () => {
      this.#offline ??= offline();
      return this.#waiting(0, this.#offline);
    },
    answered: () => this.#open,
    refused: ({ cause }) => ({ state: 'refused', error: remoteError(cause) }),
    rested: () => (this.state.state === 'waiting' || this.state.state === 'connecting' ? { state: 'idle' } : undefined),
    closed: () => ({ state: 'idle' }),
  };

  #opened({ sessionId, roundTripMs }: Pick<Open, 'sessionId' | 'roundTripMs'>): ConnectionState {
    this.#open = { state: 'open', sessionId, roundTripMs };
    return this.#open;
  }

  #waiting(attempt: number, cause: unknown): ConnectionState {
    const since = this.state.state === 'waiting' ? this.state.since : Date.now();
    return { state: 'waiting', since, attempt, cause };
  }
}
