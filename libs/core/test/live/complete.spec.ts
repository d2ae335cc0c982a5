import { encodeReply, encodeValue, SealwireError } from '@sealwire/core';
import { CompleteStream, completeReference, decodeResult, EncodedItem } from '@sealwire/core/live';
import { describe, expect, it } from 'vitest';

type Items = AsyncIterableIterator<unknown>;

/** The stream at the other side. */
function arrived(...items: Uint8Array[]): Items {
  const value = new CompleteStream(items.map((bytes) => ({ bytes })));
  const payload = encodeReply({ outcomes: [{ ok: true, value }] }, undefined, { replace: completeReference });
  const reply = decodeResult(payload) as unknown as { outcomes: [{ value: Items }] };
  return reply.outcomes[0].value;
}

describe('a stream that has ended before it is sent', () => {
  const items = [1n, { at: new Date(0) }, undefined];

  it('brings its items once', async () => {
    const stream = arrived(...items.map((item) => new EncodedItem(item).bytes));
    const seen: unknown[] = [];
    for await (const item of stream) seen.push(item);
    expect(seen).toEqual(items);
    expect(() => stream[Symbol.asyncIterator]()).toThrow('This stream was read already');
    expect(await stream.next()).toEqual({ done: true, value: undefined });
  });

  it('can be broken off', async () => {
    const stream = arrived(encodeValue(1), encodeValue(2));
    for await (const item of stream) {
      expect(item).toBe(1);
      break;
    }
    expect(await stream.next()).toEqual({ done: true, value: undefined });
    expect(() => stream[Symbol.asyncIterator]()).toThrow(TypeError);
  });

  it('fails at the item that is malformed, and is over', async () => {
    const stream = arrived(encodeValue(1), Uint8Array.of(0xff), encodeValue(3));
    expect(await stream.next()).toEqual({ done: false, value: 1 });
    await expect(stream.next()).rejects.toThrow(SealwireError);
    expect(await stream.next()).toEqual({ done: true, value: undefined });
  });

  it('may be as deep as an item that streams', () => {
    let deep: unknown = 1;
    for (let i = 0; i < 32; i++) deep = [deep];
    expect(() => arrived(new EncodedItem(deep).bytes)).not.toThrow();
    expect(() => new EncodedItem([deep])).toThrow('nested deeper');
  });

  it('holds no streams', () => {
    expect(() => new EncodedItem({ inner: new Blob([]) })).toThrow('a stream inside of an item');
  });
});
