/** Looks into the memory of its own process: what it still holds, and what that would open. */
import { Session } from 'node:inspector/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { getHeapSnapshot } from 'node:v8';
import { fromHex, openCall, parseCall } from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';

/** of texts that are looked for */
export const MASK = 0x55;

/** Bytes in use after everything unreachable was collected: heap and the buffers beside it. Needs `--expose-gc`. */
export async function heapUsed(): Promise<number> {
  for (let round = 0; round < 4; round++) {
    await sleep(50);
    globalThis.gc?.();
  }
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

/**
 * How many of the process's living byte arrays open that call frame (hexadecimal) as its traffic secret, and how many of 32
 * bytes were tried. V8 collects garbage first, so what counts is what can be reached.
 */
export async function openingArrays(frame: string): Promise<{ tried: number; opened: number }> {
  const call = parseCall(fromHex(frame));
  let tried = 0;
  let opened = 0;
  for (const array of await livingArrays()) {
    // pooled buffers hold many things: a secret may lie anywhere in one, but starts where something else ended
    for (let offset = 0; offset + 32 <= array.length && offset <= 64; offset += 4) {
      tried++;
      try {
        openCall({ primitives: nodePrimitives, keySize: 32, secret: array.slice(offset, offset + 32) }, call);
        opened++;
      } catch {
        // not this one
      }
    }
  }
  return { tried, opened };
}

/** How often one of these texts occurs among the process's living strings. They come masked, lest the question be found. */
export async function textOccurrences(masked: number[][]): Promise<number> {
  const texts = masked.map((text) => Buffer.from(text.map((byte) => byte ^ MASK)));
  const longest = Math.max(...texts.map((text) => text.length));
  let found = 0;
  let rest = Buffer.alloc(0);
  for await (const part of getHeapSnapshot()) {
    const bytes = Buffer.concat([rest, Buffer.from(part)]);
    // whatever begins in the last bytes is counted with the next part
    const end = bytes.length - longest + 1;
    for (const text of texts) {
      for (let at = bytes.indexOf(text); at >= 0 && at < end; at = bytes.indexOf(text, at + 1)) found++;
    }
    rest = bytes.subarray(Math.max(0, end));
  }
  return found;
}

async function livingArrays(): Promise<Uint8Array[]> {
  const session = new Session();
  session.connect();
  try {
    const { result } = await session.post('Runtime.evaluate', { expression: 'Uint8Array.prototype' });
    const { objects } = await session.post('Runtime.queryObjects', { prototypeObjectId: `${result.objectId}` });
    const holder = globalThis as { living?: Uint8Array[] };
    await session.post('Runtime.callFunctionOn', {
      objectId: `${objects.objectId}`,
      // prototypes are among them
      functionDeclaration: 'function () { globalThis.living = this.filter(ArrayBuffer.isView) }',
    });
    const { living = [] } = holder;
    delete holder.living;
    return living;
  } finally {
    session.disconnect();
  }
}
