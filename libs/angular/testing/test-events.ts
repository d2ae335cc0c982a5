import type { ConnectionState, RemoteEvents, RemoteListener } from '@sealwire/client';

interface Listening {
  readonly name: keyof RemoteEvents;
  readonly listener: (event: never) => void;
}

/** The events of one remote, which the test tells. */
export class TestEvents {
  connection: ConnectionState = { state: 'idle' };
  readonly #all = new Set<Listening>();

  on<K extends keyof RemoteEvents>(name: K, listener: RemoteListener<K>): () => void {
    const one: Listening = { name, listener };
    this.#all.add(one);
    return () => void this.#all.delete(one);
  }

  emit<K extends keyof RemoteEvents>(name: K, event: RemoteEvents[K]): void {
    for (const one of [...this.#all]) if (one.name === name) (one.listener as RemoteListener<K>)(event);
  }

  connect(state: ConnectionState): void {
    this.connection = state;
    this.emit('connection', state);
  }
}
