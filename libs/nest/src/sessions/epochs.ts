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

/** The two traffic secrets of an epoch. */
export class EpochSecrets {
  #erased = false;
  readonly #secrets: Uint8Array;

  /** Keeps copies. */
  constructor(
    readonly epoch: number,
    clientToServer: Uint8Array,
    serverToClient: Uint8Array,
  ) {
    this.#secrets = pooled(clientToServer, serverToClient);
  }

  get clientToServer(): Uint8Array {
    return this.#secrets.subarray(0, SIZE.key);
  }

  get serverToClient(): Uint8Array {
    return this.#secrets.subarray(SIZE.key);
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

  constructor(
    primitives: Primitives,
    epoch: number,
    { clientToServer, serverToClient }: Pick<SessionSecrets, 'clientToServer' | 'serverToClient'>,
  ) {
    this.#primitives = primitives;
    this.#current = new EpochSecrets(epoch, clientToServer, serverToClient);
  }

  get epoch(): number {
    return this.#current.epoch;
  }

  /** @throws SealwireError `session_unknown` where there are no keys for that low byte of an epoch (any more) */
  of(lowByte: number): EpochSecrets {
    const current = this.#current;
    const previous = this.#previous?.secrets;
    if (lowByte === (current.epoch & 0xff)) return current;
    if (lowByte === ((current.epoch + 1) & 0xff)) return this.next();
    if (previous && lowByte === (previous.epoch & 0xff)) return previous;
    throw new SealwireError('session_unknown');
  }

  /** Steps on to the next epoch; the one before is kept for calls under way, then erased. */
  advance(epoch: number): void {
    if (epoch !== this.epoch + 1) return;
    const next = this.next();
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

  private next(): EpochSecrets {
    this.#current.assertKept();
    if (this.#next) return this.#next;
    const { epoch, clientToServer, serverToClient } = this.#current;
    const secrets = [
      nextEpochSecret(this.#primitives, clientToServer, 'c2s'),
      nextEpochSecret(this.#primitives, serverToClient, 's2c'),
    ] as const;
    this.#next = new EpochSecrets(epoch + 1, ...secrets);
    erase(...secrets);
    return this.#next;
  }

  #erasePrevious(): void {
    if (!this.#previous) return;
    clearTimeout(this.#previous.timer);
    this.#previous.secrets.erase();
    this.#previous = undefined;
  }
}
