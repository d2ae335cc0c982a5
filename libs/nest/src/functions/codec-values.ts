import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { BadRequestException, ClassSerializerInterceptor, type ExecutionContext } from '@nestjs/common';
import { RemoteFile, sourceOf } from '@sealwire/core';
import { map } from 'rxjs';
import { misconfigured } from '../options.js';
import { isStreamed, mapped } from '../streams/kept-values.js';
import { remoteCall } from './remote-function.decorator.js';

/*
 * class-transformer, which ValidationPipe and ClassSerializerInterceptor use, makes a Map with empty values of a Map, an array of a
 * Set, and an object of bytes that are no Buffer. Here such values are kept whole, or the loss is told.
 */

type Class = new () => object;

interface Transformer {
  Transform(
    transform: (field: { obj: Record<string, unknown>; key: string }) => unknown,
    options: object,
  ): PropertyDecorator;
}

/** The metadata of class-transformer on the fields of classes. */
interface FieldStorage {
  findTransformMetadatas(type: Class, field: string, transformation: number): { transformFn: unknown }[];
  findTypeMetadata(type: Class, field: string): { typeFunction?: () => unknown } | undefined;
}

interface ValidatorStorage {
  getTargetValidationMetadatas(
    type: Class,
    schema: string,
    always: boolean,
    strict: boolean,
  ): { propertyName: string }[];
}

const PLAIN_TO_CLASS = 0;

/** Types of a payload that a pipe must not take for a class to be filled. */
const WHOLE = new Set<unknown>([Map, Set, Uint8Array, BigInt, RemoteFile, ReadableStream]);

/**
 * Keeps a field of a DTO as it was sent. A field of type Map or Set needs it, since class-transformer would empty the one and make
 * an array of the other; validators then see the Map or Set itself. Bytes, dates and bigints need nothing.
 *
 * @throws SealwireError `bad_configuration` if class-transformer is not installed
 * @example
 * import { IsInstance } from 'class-validator';
 *
 * class OrderDto {
 *   @IsInstance(Map)
 *   @AsSent()
 *   amounts!: Map<string, bigint>;
 * }
 */
export function AsSent(): PropertyDecorator {
  const transformer = load<Transformer>('class-transformer');
  if (!transformer) throw misconfigured('@AsSent() needs class-transformer: install it.');
  return transformer.Transform(asSent, { toClassOnly: true });
}

function asSent({ obj, key }: { obj: Record<string, unknown>; key: string }): unknown {
  return obj[key];
}

/** Tells at start of a validated Map or Set in the DTOs of a function that would arrive broken. */
export function refuseLostFields(types: readonly unknown[], origin: string): void {
  const fields = storage();
  const { classValidatorMetadataStorage: validators } = globalThis as {
    classValidatorMetadataStorage?: ValidatorStorage;
  };
  if (!fields || !validators) return;
  const seen = new Set<unknown>([Object, Array, ...WHOLE]);
  const look = (type: unknown): void => {
    if (typeof type !== 'function' || !type.prototype || seen.has(type)) return;
    seen.add(type);
    const names = validators.getTargetValidationMetadatas(type as Class, '', true, false).map((it) => it.propertyName);
    for (const name of new Set(names)) {
      const declared = Reflect.getMetadata('design:type', type.prototype, name);
      if (
        (declared === Map || declared === Set) &&
        fields.findTransformMetadatas(type as Class, name, PLAIN_TO_CLASS).length === 0
      ) {
        throw misconfigured(
          `${type.name}.${name}, a ${declared.name} that ${origin} takes, would be destroyed by class-transformer; decorate it with @AsSent().`,
        );
      }
      look(declared);
      look(fields.findTypeMetadata(type as Class, name)?.typeFunction?.());
    }
  };
  types.forEach(look);
}

/** The type of a parameter that pipes are told: what a payload carries whole is no class to fill. */
export function pipeType<T>(type: T): T | ObjectConstructor {
  return WHOLE.has(type) ? Object : type;
}

/**
 * Puts the fields that are decorated with `@AsSent()` back into what pipes made of an argument, and tells of what they lost.
 *
 * @throws BadRequestException for a Set, a Map or a Date in place of an object, which would be validated as one without fields
 * @throws Error that names the field whose Map or Set pipes destroyed
 */
export function refuseLoss(sent: unknown, received: unknown, type: unknown): void {
  if (
    sent instanceof Set &&
    Array.isArray(received) &&
    typeof type === 'function' &&
    type !== Array &&
    type !== Object
  ) {
    throw new BadRequestException('Validation failed (object is expected)');
  }
  if (sent instanceof Map && hasFields(type)) {
    throw new BadRequestException('Validation failed (object is expected)');
  }
  refuseDate(received, type, '');
  if (sent instanceof Set || sent instanceof Map) return;
  const path = lossIn(sent, received, type);
  if (path === undefined) return;
  const name = typeof type === 'function' ? type.name : 'argument';
  throw new Error(`Pipes destroyed the Map or Set at ${name}${path}; decorate the field with @AsSent().`);
}

const WITHOUT_FIELDS = new Set<unknown>([
  ...WHOLE,
  Object,
  Array,
  Date,
  Buffer,
  String,
  Number,
  Boolean,
  Symbol,
  Function,
]);

function hasFields(type: unknown): type is Class {
  return typeof type === 'function' && !!type.prototype && !WITHOUT_FIELDS.has(type);
}

/**
 * class-transformer passes a Date on in the place of an object of a class, and validators find nothing in it to check: no field
 * would be required any more.
 */
function refuseDate(value: unknown, type: unknown, path: string): void {
  if (!hasFields(type) || !isObject(value)) return;
  if (value instanceof Date && !(value instanceof type))
    throw new BadRequestException([`${path || 'argument'} must be an object`]);
  for (const [key, item] of Object.entries(value)) {
    if (!isObject(item)) continue;
    const step = path ? `${path}.${key}` : key;
    const expected = fieldType(type, key, Array.isArray(item));
    if (Array.isArray(item)) for (const [i, one] of item.entries()) refuseDate(one, expected, `${step}.${i}`);
    else refuseDate(item, expected, step);
  }
}

let known: { readonly fields: FieldStorage | undefined } | undefined;

function storage(): FieldStorage | undefined {
  known ??= {
    fields: load<{ defaultMetadataStorage: FieldStorage }>('class-transformer/cjs/storage.js')?.defaultMetadataStorage,
  };
  return known.fields;
}

/** @param type of the value, or of the items of an array */
function lossIn(sent: unknown, received: unknown, type: unknown): string | undefined {
  if (sent === received || !isObject(sent) || !isObject(received) || sent instanceof Uint8Array) return undefined;
  const items = Array.isArray(sent);
  const made = received.constructor;
  const owner = items ? undefined : [made, type].find(hasFields);
  for (const [key, from] of Object.entries(sent)) {
    const to = Object.hasOwn(received, key) ? received[key] : undefined;
    if (!isObject(from) || !isObject(to) || from === to) continue;
    const step = items ? `[${key}]` : `.${key}`;
    if (from instanceof Map || from instanceof Set) {
      const transforms = owner ? (storage()?.findTransformMetadatas(owner, key, PLAIN_TO_CLASS) ?? []) : [];
      // without the option `transform`, ValidationPipe makes a plain object again of what it validated
      if (transforms.some(({ transformFn }) => transformFn === asSent)) received[key] = from;
      else if (transforms.length === 0 && isLost(from, to, owner && declaredType(owner, key))) return step;
    } else {
      const deeper = lossIn(from, to, items ? type : owner && fieldType(owner, key, Array.isArray(from)));
      if (deeper !== undefined) return step + deeper;
    }
  }
  return undefined;
}

/** Whether it is what class-transformer makes of a Map or Set. */
function isLost(from: object, to: Record<string, unknown>, declared: unknown): boolean {
  if (!(from instanceof Map)) return Array.isArray(to) && declared !== Array;
  return [...from].some(([key, value]) => {
    if (value === undefined) return false;
    return to instanceof Map ? to.get(key) === undefined : Object.hasOwn(to, key) && to[key] === undefined;
  });
}

/** The type of a field, or of the items of one that is an array. */
function fieldType(owner: Class, key: string, items = false): unknown {
  return storage()?.findTypeMetadata(owner, key)?.typeFunction?.() ?? (items ? undefined : declaredType(owner, key));
}

function declaredType(owner: Class, key: string): unknown {
  return Reflect.getMetadata('design:type', owner.prototype, key);
}

interface Serializer {
  intercept: ClassSerializerInterceptor['intercept'];
  serialize(response: unknown, options: Options): unknown;
  getContextOptions(context: ExecutionContext): Options | undefined;
}

interface Options {
  readonly type?: unknown;
  readonly [REMOTE]?: boolean;
}

/** In the options of what is serialized for a remote call. */
const REMOTE = Symbol('remote');

const keeping = new WeakSet<object>();

/**
 * Has an interceptor of Nest that serializes classes keep Map, Set, bytes and streams in remote calls. The interceptor itself is
 * changed, since nothing in its place has its private members; on routes it does as before.
 */
export function keepingValues<T>(interceptor: T): T {
  if (!(interceptor instanceof ClassSerializerInterceptor) || keeping.has(interceptor)) return interceptor;
  keeping.add(interceptor);
  const serializer = interceptor as unknown as Serializer;
  const serialize = serializer.serialize.bind(serializer);
  const optionsOf = serializer.getContextOptions.bind(serializer);
  const intercept = serializer.intercept.bind(serializer);
  serializer.intercept = (context, next) =>
    intercept(context, remoteCall(context) ? { handle: () => next.handle().pipe(map(bytesWhole)) } : next);
  serializer.serialize = (response, options) =>
    options?.[REMOTE] ? serializeWhole(serialize, response, options) : serialize(response, options);
  serializer.getContextOptions = (context) =>
    remoteCall(context) ? { ...optionsOf(context), [REMOTE]: true } : optionsOf(context);
  return interceptor;
}

/** Nest would make a sequence of chunks of a stream of bytes that can be iterated. */
function bytesWhole(value: unknown): unknown {
  const source = isObject(value) ? sourceOf(value) : undefined;
  return source?.kind === 'bytes' ? source : value;
}

/**
 * class-transformer leaves a symbol alone, so one stands for each Map, Set and stream; members of Maps and Sets and items of streams
 * are serialized on their own.
 *
 * @param streams what stands for each stream of the result
 */
function serializeWhole(
  serialize: Serializer['serialize'],
  response: unknown,
  options: Options,
  streams = new Map<object, object>(),
): unknown {
  const kept = new Map<unknown, object>();
  const plain = serialize(withStandIns(response, kept, new Set()), options);
  if (kept.size === 0) return plain;
  const inner = kept.has(plain) ? options : { ...options, type: undefined };
  const member = (value: unknown) => serializeWhole(serialize, value, inner, streams);
  const restore = (value: unknown): unknown => {
    const original = kept.get(value);
    if (original instanceof Set) return new Set([...original].map(member));
    if (original instanceof Map) return new Map([...original].map(([key, item]) => [member(key), member(item)]));
    if (original) {
      // one that stands twice is refused, so it has to be one still
      const stream = streams.get(original) ?? mapped(original, member);
      streams.set(original, stream);
      return stream;
    }
    if (isObject(value)) for (const key of Object.keys(value)) value[key] = restore(value[key]);
    return value;
  };
  return restore(plain);
}

/** The value itself if nothing in it has to be kept, else a copy of the same classes. */
function withStandIns(value: unknown, kept: Map<unknown, object>, above: Set<unknown>): unknown {
  if (value instanceof Map || value instanceof Set || (isObject(value) && isStreamed(value))) {
    const standIn = Symbol();
    kept.set(standIn, value);
    return standIn;
  }
  if (value instanceof Uint8Array) {
    return Buffer.isBuffer(value) ? value : Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  }
  if (!isObject(value) || above.has(value)) return value;
  above.add(value);
  const changed: [string, unknown][] = [];
  for (const [key, { value: item }] of Object.entries(Object.getOwnPropertyDescriptors(value))) {
    const next = withStandIns(item, kept, above);
    if (next !== item) changed.push([key, next]);
  }
  above.delete(value);
  if (changed.length === 0) return value;
  const copy: Record<string, unknown> = Array.isArray(value)
    ? ([...value] as never)
    : Object.create(Object.getPrototypeOf(value), Object.getOwnPropertyDescriptors(value));
  for (const [key, next] of changed)
    Object.defineProperty(copy, key, { value: next, enumerable: true, configurable: true, writable: true });
  return copy;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

/** An optional package, as the application has it. */
function load<T>(name: string): T | undefined {
  try {
    // not from this file: Jest compiles it to CommonJS, which has no import.meta
    return createRequire(resolve(process.argv[1] ?? 'index.js'))(name);
  } catch {
    return undefined;
  }
}
