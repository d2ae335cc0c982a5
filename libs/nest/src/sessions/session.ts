import {
  type CallFrame,
  erase,
  LIMITS,
  nextEpochSecret,
  openCall,
  type Primitives,
  SealwireError,
  type SessionSecrets,
  SIZE,
  sealResult,
  toHex,
} from '@sealwire/core';
import type { AttachedSession, CloseReason, LedgerSession } from '../ports/ports.js';
import { TokenBucket } from './token-bucket.js';

/** The two traffic secrets of an epoch. */
export class EpochSecrets {
  private erased = false;

  constructor(
    readonly epoch: number,
    readonly clientToServer: Uint8Array,
    readonly serverToClient: Uint8Array,
  ) {}

  erase(): void {
    this.erased = true;
    erase(this.clientToServer, this.serverToClient);
  }

  /** A call may outlive its epoch; its result must never be sealed under what erasing leaves, which anybody knows. */
  assertKept(): void {
    if (this.erased) throw new SealwireError('session_unknown');
  }
}

/** A call frame that opened, and the secrets its result goes out under. */
export interface OpenedFrame {
  readonly payload: Uint8Array;
  readonly secrets: EpochSecrets;
}

const FAILED_OPENS_PER_SECOND = 20;

/** A session in this process's memory: opens its calls and seals their results. */
export class LiveSession implements LedgerSession {
  readonly id: Uint8Array;
  readonly key: string;
  readonly module: string;
  readonly keyId: Uint8Array | undefined;
  readonly keyIdHex: string | undefined;
  readonly lane: number;
  readonly incarnation: Uint8Array;
  readonly closed: AttachedSession['closed'];
  readonly peer: string | undefined;
  readonly renewal: Uint8Array;
  readonly firstKey: Uint8Array;
  readonly expires: number;
  readonly idleMs: number;
  lastUsed: number;
  /** of performance.now() */
  readonly since = performance.now();
  ended: CloseReason | undefined;
  /** no longer this process's: whoever held it over an `await` finds it again */
  released = false;
  /** single flight of the step to the next epoch */
  advancing: Promise<void> | undefined;
  readonly failedOpens = new TokenBucket(FAILED_OPENS_PER_SECOND);
  private readonly keySize: AttachedSession['keySize'];
  private running = 0;
  private onIdle: (() => void) | undefined;
  private current: EpochSecrets;
  private previous: { readonly secrets: EpochSecrets; readonly timer: NodeJS.Timeout } | undefined;

  constructor(
    private readonly primitives: Primitives,
    row: AttachedSession,
  ) {
    this.id = row.id;
    this.key = toHex(row.id);
    this.module = row.module;
    this.keyId = row.keyId;
    this.keyIdHex = row.keyId && toHex(row.keyId);
    this.keySize = row.keySize;
    this.lane = row.lane;
    this.incarnation = row.incarnation;
    this.closed = row.closed;
    this.peer = row.peer;
    this.renewal = row.secrets.renewal;
    this.firstKey = row.firstKey;
    this.expires = row.expires;
    this.idleMs = row.idleSeconds * 1000;
    this.lastUsed = row.lastUsed;
    this.current = new EpochSecrets(row.epoch, row.secrets.clientToServer, row.secrets.serverToClient);
  }

  get epoch(): number {
    return this.current.epoch;
  }

  /** Whether calls were accepted that have no outcome yet. */
  get busy(): boolean {
    return this.running > 0;
  }

  enter(): void {
    this.running += 1;
  }

  leave(): void {
    this.running -= 1;
    if (this.running === 0) this.onIdle?.();
  }

  /** Resolves when every accepted call has its outcome. Asked once, by whoever releases the session. */
  idle(): Promise<void> {
    return this.running === 0
      ? Promise.resolve()
      : new Promise((resolve) => {
          this.onIdle = resolve;
        });
  }

  /**
   * Opens a call of this epoch, of the one before while that is kept, or of the next, whose secrets are then new to the
   * caller. Nothing changes here. PROTOCOL.md section 5.4.
   * @throws SealwireError `open_failed`
   */
  open(frame: CallFrame): OpenedFrame {
    const secrets = this.secretsOf(frame.epoch);
    secrets.assertKept();
    const { primitives, keySize } = this;
    return { payload: openCall({ primitives, keySize, secret: secrets.clientToServer }, frame), secrets };
  }

  /** Takes the next epoch's secrets; those they follow are kept for calls under way, then erased. */
  advance(next: EpochSecrets): void {
    if (next.epoch !== this.current.epoch + 1) return;
    this.erasePrevious();
    const timer = setTimeout(() => this.erasePrevious(), LIMITS.epochGraceSeconds * 1000).unref();
    this.previous = { secrets: this.current, timer };
    this.current = next;
  }

  /** Sealed under a new salt each time, so a result that goes out again shares no key with the first. */
  seal(frame: CallFrame, secrets: EpochSecrets, reply: Uint8Array): Uint8Array {
    secrets.assertKept();
    const { primitives, keySize } = this;
    const result = { epoch: secrets.epoch & 0xff, callHeader: frame.header, salt: primitives.random(SIZE.salt) };
    return sealResult({ primitives, keySize, secret: secrets.serverToClient }, result, reply);
  }

  erase(): void {
    this.erasePrevious();
    this.current.erase();
    erase(this.renewal);
  }

  /** Whether a frame is of an epoch that only another instance can have led to. */
  isForeignEpoch(epoch: number): boolean {
    const ahead = (epoch - this.current.epoch) & 0xff;
    return ahead > 1 && ahead < 0xff;
  }

  private secretsOf(epoch: number): EpochSecrets {
    const { current, previous } = this;
    if (epoch === (current.epoch & 0xff)) return current;
    if (epoch === ((current.epoch + 1) & 0xff)) return this.next();
    if (previous && epoch === (previous.secrets.epoch & 0xff)) return previous.secrets;
    throw new SealwireError('open_failed');
  }

  private next(): EpochSecrets {
    const { primitives, current } = this;
    return new EpochSecrets(
      current.epoch + 1,
      nextEpochSecret(primitives, current.clientToServer, 'c2s'),
      nextEpochSecret(primitives, current.serverToClient, 's2c'),
    );
  }

  private erasePrevious(): void {
    if (!this.previous) return;
    clearTimeout(this.previous.timer);
    this.previous.secrets.erase();
    this.previous = undefined;
  }
}

/** A session as its handshake leaves it. */
export function attachedOf(
  session: Omit<AttachedSession, 'epoch' | 'closed' | 'secrets'>,
  secrets: SessionSecrets,
): AttachedSession {
  return { ...session, secrets, epoch: 0, closed: undefined };
}
