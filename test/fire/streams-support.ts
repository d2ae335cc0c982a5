import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { RemoteError } from '@sealwire/client';
import { heapUsed } from './memory-probe.js';
import { pattern } from './pattern.js';

const MiB = 2 ** 20;

/** Bytes in use in this process after a collection. */
export function ownHeap(): Promise<number> {
  setFlagsFromString('--expose-gc');
  globalThis.gc ??= runInNewContext('gc');
  return heapUsed();
}

/** Reads some of it as fast as it comes. @returns milliseconds that a consumer pauses for each part if it is 100 times slower */
export async function fullSpeed(read: () => Promise<number>): Promise<{ taken: number; pause: number }> {
  let taken = 0;
  let parts = 0;
  const started = performance.now();
  for (; taken < 8 * MiB; parts++) taken += await read();
  return { taken, pause: (100 * (performance.now() - started)) / parts };
}

/** Pauses before each step. */
export async function slowly(pause: number, milliseconds: number, step: () => Promise<void>): Promise<void> {
  const end = performance.now() + milliseconds;
  while (performance.now() < end) {
    await sleep(pause);
    await step();
  }
}

export const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

export async function listOf<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

export async function hashOf(bytes: ReadableStream<Uint8Array>): Promise<string> {
  const hash = createHash('sha256');
  for await (const part of bytes) hash.update(part);
  return hash.digest('hex');
}

/** The pattern, as somebody would read it from a disk, and how much of it was asked for. */
export function source(length: number): { stream: ReadableStream<Uint8Array>; given: number } {
  const read = {
    given: 0,
    stream: new ReadableStream<Uint8Array>(
      {
        pull(controller) {
          const part = pattern(read.given, Math.min(16_384, length - read.given));
          read.given += part.length;
          if (part.length > 0) controller.enqueue(part);
          else controller.close();
        },
      },
      { highWaterMark: 0 },
    ),
  };
  return read;
}

export async function failureOf(work: () => Promise<unknown>): Promise<RemoteError> {
  try {
    await work();
  } catch (error) {
    return error as RemoteError;
  }
  throw new Error('it came to its end');
}
