import {
  ApplicationRef,
  computed,
  Injectable,
  inject,
  makeStateKey,
  type ResourceRef,
  type Signal,
  type TransferState,
  untracked,
} from '@angular/core';
import { type BatchCall, decodeValue, encodeValue, ɵsha256 } from '@sealwire/client';

/** A value that came with the page. */
export interface HandedOver {
  readonly value: unknown;
}

/**
 * Whether what came with the page may still be used: as long as the application starts. What is made later, after a log-in for
 * example, calls. HttpClient's cache of the server's answers ends at the same moment.
 */
@Injectable({ providedIn: 'root' })
export class Start {
  readonly #application = inject(ApplicationRef);
  #isFollowed = false;
  isOver = false;

  /** Before the first component is there, and the router has begun, nothing is under way: the application seems to be stable. */
  follow(): void {
    if (this.#isFollowed || this.#application.components.length === 0) return;
    this.#isFollowed = true;
    void Promise.resolve()
      .then(() => this.#application.whenStable())
      .then(() => {
        this.isOver = true;
      });
  }
}

/**
 * Hands values of one module over from the server that renders a page to the browser. They travel as CBOR in base64, for
 * TransferState writes JSON, which has no bigint, Date, Map, Set and bytes. Each is used once.
 */
export class Transfer {
  constructor(
    private readonly state: TransferState,
    private readonly path: string,
    private readonly start: Start,
  ) {}

  /** Streams and files stay: the browser calls for them. */
  keep(call: BatchCall<unknown>, value: unknown): void {
    const key = this.#keyOf(call);
    const text = encoded(value);
    if (key === undefined || text === undefined) return;
    // components that make the same call each have their value
    this.state.set(key, [...this.state.get(key, []), text]);
  }

  take(call: BatchCall<unknown>): HandedOver | undefined {
    const key = this.start.isOver ? undefined : this.#keyOf(call);
    const found: unknown = key === undefined ? [] : this.state.get(key, []);
    // somebody altered the page; the call brings the value
    const [text, ...others] = Array.isArray(found) ? found : [];
    if (key === undefined || text === undefined) return undefined;
    if (others.length > 0) this.state.set(key, others);
    else this.state.remove(key);
    try {
      return { value: decodeValue(Uint8Array.from(atob(text), (character) => character.charCodeAt(0))) };
    } catch {
      return undefined;
    }
  }

  /** A hash, for arguments may hold what the page does not show. */
  #keyOf({ name, args }: BatchCall<unknown>) {
    try {
      const hash = ɵsha256(encodeValue([this.path, name, args]));
      return makeStateKey<readonly string[]>(`sealwire ${base64(hash.subarray(0, 16))}`);
    } catch {
      return undefined;
    }
  }
}

function encoded(value: unknown): string | undefined {
  try {
    return base64(encodeValue(value, { replace: refuse }));
  } catch {
    return undefined;
  }
}

/** Asked for all that is no plain data: in a result, streams and files. */
function refuse(): never {
  throw new Error('A stream stays where it is.');
}

function base64(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

/** A resource that is resolved from its first moment on if its loader is going to give out what came with the page. */
export function resolvedEarly<T>(resource: ResourceRef<T>, given: Signal<HandedOver | undefined>): ResourceRef<T> {
  const early = computed(() => (resource.status() === 'loading' ? (given() as { readonly value: T }) : undefined));
  const value = computed(() => (early() ?? { value: resource.value() }).value);
  const set = (next: T): void => resource.set(next);
  const update = (change: (now: T) => T): void => set(change(untracked(value)));
  const ref: ResourceRef<T> = {
    value: Object.assign(value, { set, update, asReadonly: () => value }) as ResourceRef<T>['value'],
    status: computed(() => (early() ? 'resolved' : resource.status())),
    error: resource.error,
    isLoading: computed(() => !early() && resource.isLoading()),
    snapshot: computed(() => {
      const now = early();
      return now ? { status: 'resolved', value: now.value } : resource.snapshot();
    }),
    hasValue: (() => (early() ? value() !== undefined : resource.hasValue())) as ResourceRef<T>['hasValue'],
    set,
    update,
    reload: () => resource.reload(),
    destroy: () => resource.destroy(),
    asReadonly: () => ref,
  };
  return ref;
}
