import {
  erase,
  LIMITS,
  nextEpochSecret,
  type Primitives,
  SealwireError,
  type SessionSecrets,
  SIZE,
} from '@sealwire/core';
import { pooled } from './pooled.js';

/** The secrets of a session in one epoch. The renewal key is that of every epoch. */
export class EpochSecrets {
  #erased = false;
  readonly #secrets: Uint8Array;

  /** Keeps copies. */
  constructor(
    readonly epoch: number,
    { clientToServer, serverToClient, renewal }: SessionSecrets,
  ) {
    this.#secrets = pooled(clientToServer, serverToClient, renewal);
  }

  get clientToServer(): Uint8Array {
    return this.#secrets.subarray(0, SIZE.key);
  }

  get serverToClient(): Uint8Array {
    return this.#secrets.subarray(SIZE.key, 2 * SIZE.key);
  }

  get renewal(): Uint8Array {
    this.assertKept();
    return this.#secrets.subarray(2 * SIZE.key);
  }

  erase(): void {
    this.#erased = true;
    erase(this.#secrets);
  }

  /** A call may outlive its epoch; its result must never be sealed under what erasing leaves, which anybody knows. */
  assertKept(): void {
    if (this.#erased) throw new SealwireError('session_unknown');
  }
}

/** The epochs that a session has keys for: the one before while it is kept, the current one, the next. PROTOCOL.md section 5.4. */
export class Epochs {
  readonly #primitives: Primitives;
  #previous: { readonly secrets: EpochSecrets; readonly timer: NodeJS.Timeout } | undefined;
  #current: EpochSecrets;
  /** made when the first frame of it comes, true or forged; it follows from the current one */
  #next: EpochSecrets | undefined;

  constructor(primitives: Primitives, epoch: number, secrets: SessionSecrets) {
    this.#primitives = primitives;
    this.#current = new EpochSecrets(epoch, secrets);
  }

  /** @throws SealwireError `session_unknown` once it is erased */
  get renewal(): Uint8Array {
    return this.#current.renewal;
  }

  get epoch(): number {
    return this.#current.epoch;
  }

  /** @throws SealwireError `session_unknown` if there are no keys for that low byte of an epoch (any more) */
  of(lowByte: number): EpochSecrets {
    const current = this.#current;
    const previous = this.#previous?.secrets;
    if (lowByte === (current.epoch & 0xff)) return current;
    if (lowByte === ((current.epoch + 1) & 0xff)) return this.#following();
    if (previous && lowByte === (previous.epoch & 0xff)) return previous;
    throw new SealwireError('session_unknown');
  }

  /** Steps on to the next epoch; the one before is kept for calls under way, then erased. */
  advance(epoch: number): void {
    if (epoch !== this.epoch + 1) return;
    const next = this.#following();
    this.#erasePrevious();
    const timer = setTimeout(() => this.#erasePrevious(), LIMITS.epochGraceSeconds * 1000).unref();
    this.#previous = { secrets: this.#current, timer };
    this.#current = next;
    this.#next = undefined;
  }

  erase(): void {
    this.#erasePrevious();
    this.#current.erase();
    this.#next?.erase();
  }

  #following(): EpochSecrets {
    this.#current.assertKept();
    if (this.#next) return this.#next;
    const { epoch, clientToServer, serverToClient, renewal } = this.#current;
    const next = {
      clientToServer: nextEpochSecret(this.#primitives, clientToServer, 'c2s'),
      serverToClient: nextEpochSecret(this.#primitives, serverToClient, 's2c'),
    };
    this.#next = new EpochSecrets(epoch + 1, { ...next, renewal });
    erase(next.clientToServer, next.serverToClient);
    return this.#next;
  }

  #erasePrevious(): void {
    if (!this.#previous) return;
    clearTimeout(this.#previous.timer);
    this.#previous.secrets.erase();
    this.#previous = undefined;
  }
}
