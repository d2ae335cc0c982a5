import type { Call, RESERVED_NAMES, RemoteFile, RemoteParameters } from '@sealwire/core';
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
    ? (...args: SentAll<RemoteParameters<P>>) => Promise<Sent<Awaited<R>>>
    : never;
};

type SentAll<P extends readonly unknown[]> = { -readonly [K in keyof P]: Sent<P[K], 'argument'> };

/** Node's Readable, known by its shape: browsers have none. */
interface NodeReadable extends AsyncIterable<unknown> {
  pipe(...args: never[]): unknown;
  destroy(...args: never[]): unknown;
}
/** What is a stream, known by its shape: rxjs, Nest and Node's streams are the server's. */
type ObservableLike<T> = { subscribe: AnyFunction; pipe: AnyFunction; forEach(next: (value: T) => void): unknown };
type FileLike =
  | RemoteFile
  | { arrayBuffer: AnyFunction; slice: AnyFunction; size: number; type: string }
  | { getStream: AnyFunction; getHeaders: AnyFunction };
type ByteStreamLike =
  | { getReader: AnyFunction }
  | { pipe: AnyFunction; destroy: AnyFunction }
  | { getStream: AnyFunction };

/** Where a value travels to: back from the function, or to it as a part of its arguments. */
type Way = 'result' | 'argument';
type Files<W extends Way> = W extends 'result' ? RemoteFile : Blob | RemoteFile;
type Bytes<W extends Way> = W extends 'result' ? ReadableStream<Uint8Array> : ReadableStream<Uint8Array> | NodeReadable;

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
 * `toJSON` as what that returns, `never` for what cannot be sent. Generators and Observables arrive as AsyncIterable, streams
 * of bytes as ReadableStream, files as RemoteFile; as arguments they may be whatever is sent so. A getter looks like a property
 * to the compiler and stays, though only own properties travel.
 */
export type Sent<T, W extends Way = 'result'> = 0 extends 1 & T
  ? T
  : unknown extends T
    ? T
    : // biome-ignore lint/suspicious/noConfusingVoidType: many handlers return nothing
      T extends string | number | boolean | bigint | null | undefined | void | Date
      ? T
      : T extends Uint8Array
        ? Uint8Array
        : T extends FileLike
          ? Files<W>
          : T extends ByteStreamLike
            ? Bytes<W>
            : T extends ObservableLike<infer V>
              ? AsyncIterable<Sent<V, W>>
              : T extends AsyncIterable<infer V>
                ? AsyncIterable<Sent<V, W>>
                : SentObject<T, W>;

type SentObject<T, W extends Way> =
  T extends ReadonlyMap<infer K, infer V>
    ? Map<Sent<K, W>, Sent<V, W>>
    : T extends ReadonlySet<infer V>
      ? Set<Sent<V, W>>
      : T extends Opaque
        ? never
        : T extends readonly unknown[]
          ? { [K in keyof T]: Sent<T[K], W> }
          : T extends { toJSON(...args: never[]): infer J }
            ? Sent<J, W>
            : { [K in keyof T as Travels<K, T[K]>]: Sent<T[K], W> };

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

/** The outcome of one call of a batch. */
export type Settled<T = unknown> =
  | { readonly status: 'fulfilled'; readonly value: T }
  | { readonly status: 'rejected'; readonly reason: RemoteError };
