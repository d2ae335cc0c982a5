import type { Call, RESERVED_NAMES, RemoteParameters } from '@sealwire/core';
import type { RemoteError } from './errors.js';

type ReservedName = (typeof RESERVED_NAMES)[number] | `$${string}` | `@@${string}` | `__${string}`;

type Instance<T> = T extends abstract new (...args: never[]) => infer I ? I : T;
// biome-ignore lint/suspicious/noExplicitAny: the widest function type that keeps parameters inferable
type AnyFunction = (...args: any[]) => unknown;

/**
 * The remote functions of a controller (its class or instance type): public methods without the parameters that the
 * server injects, with their types as they travel, results awaited. Methods that are no remote functions show too;
 * calling one is `function_unknown`.
 */
export type RemoteApi<T> = {
  [K in keyof Instance<T> as K extends string
    ? K extends ReservedName
      ? never
      : Instance<T>[K] extends AnyFunction
        ? K
        : never
    : never]: Instance<T>[K] extends (...args: infer P) => infer R
    ? (...args: SentAll<RemoteParameters<P>>) => Promise<Sent<Result<R>>>
    : never;
};

type SentAll<P extends readonly unknown[]> = { -readonly [K in keyof P]: Sent<P[K]> };

/** A handler may return an Observable; Nest answers with what it emits last. Known by its shape: rxjs is the server's. */
type Result<R> =
  Awaited<R> extends infer V
    ? V extends { subscribe: AnyFunction; pipe: AnyFunction; forEach(next: (value: infer Item) => void): unknown }
      ? Item
      : V
    : never;

/** Objects that say nothing by their own properties: the encoder refuses them. */
type Opaque =
  | symbol
  | AnyFunction
  | PromiseLike<unknown>
  | Error
  | RegExp
  | ArrayBufferView
  | ArrayBufferLike
  | WeakMap<WeakKey, unknown>
  | WeakSet<WeakKey>
  | Iterator<unknown>;

/**
 * What arrives of a value of type T: bytes as Uint8Array (a Buffer too), objects without their methods, an object with
 * `toJSON` as what that returns, `never` for what cannot be sent. A getter looks like a property to the compiler and stays,
 * though only own properties travel.
 */
export type Sent<T> = 0 extends 1 & T
  ? T
  : unknown extends T
    ? T
    : // biome-ignore lint/suspicious/noConfusingVoidType: many handlers return nothing
      T extends string | number | boolean | bigint | null | undefined | void | Date
      ? T
      : T extends Uint8Array
        ? Uint8Array
        : T extends ReadonlyMap<infer K, infer V>
          ? Map<Sent<K>, Sent<V>>
          : T extends ReadonlySet<infer V>
            ? Set<Sent<V>>
            : T extends Opaque
              ? never
              : T extends readonly unknown[]
                ? { [K in keyof T]: Sent<T[K]> }
                : T extends { toJSON(...args: never[]): infer J }
                  ? Sent<J>
                  : { [K in keyof T as Travels<K, T[K]>]: Sent<T[K]> };

type Travels<K, V> = K extends symbol ? never : [NonNullable<V>] extends [AnyFunction | symbol] ? Unless<V, K> : K;
/** A property of type `never` or `any` is no method. */
type Unless<V, K> = [NonNullable<V>] extends [never] ? K : 0 extends 1 & V ? K : never;

declare const result: unique symbol;
/** A call that a batch holds but that is not sent by itself. */
export type BatchCall<R> = Call & { readonly [result]?: R };
/** The functions of a remote as `$batch` hands them out: they make calls and send nothing. */
export type BatchApi<Api> = {
  [K in keyof Api]: Api[K] extends (...args: infer P) => Promise<infer R> ? (...args: P) => BatchCall<R> : never;
};
/** The outcomes of a batch, in the order of its calls. */
export type BatchResults<T extends readonly unknown[]> = {
  -readonly [K in keyof T]: T[K] extends BatchCall<infer R> ? Settled<R> : never;
};

/** What became of one call of a batch. */
export type Settled<T = unknown> =
  | { readonly status: 'fulfilled'; readonly value: T }
  | { readonly status: 'rejected'; readonly reason: RemoteError };
