import 'reflect-metadata';
import { AsyncLocalStorage } from 'node:async_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type CallHandler,
  type CanActivate,
  type ExecutionContext,
  Injectable,
  Logger,
  type NestInterceptor,
  UseGuards,
  UseInterceptors,
} from '@nestjs/common';
import { decodeReply, encodeCalls, type Outcome } from '@sealwire/core';
import { at, RemoteFunction, RemoteFunctions } from '@sealwire/nest';
import { map, Observable, of, throwError } from 'rxjs';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { answerOf, callLive, type LiveAnswer, listOf, resultOf, sendLive } from './live-peer.js';
import { startStreams } from './streams-application.js';
import { only, type PeerClient, post } from './support.js';

const user = new AsyncLocalStorage<string>();
// Node watches promises from the first use on: those that are there before would hold what is entered first
user.run('', () => undefined);
let closed = 0;
let made = 0;
let steps: (string | undefined)[] = [];

class Entering implements CanActivate {
  canActivate(): boolean {
    user.enterWith('alice');
    return true;
  }
}

/** Runs the function in a store, and gives another generator in place of its own. */
class Replacing implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const replaced = async function* (items: AsyncIterable<unknown>): AsyncGenerator<unknown> {
      for await (const item of items) yield [item, user.getStore()];
    };
    const inside = new Observable((subscriber) => user.run('alice', () => next.handle().subscribe(subscriber)));
    return inside.pipe(map((value) => replaced(value as AsyncIterable<unknown>)));
  }
}

@RemoteFunctions('live')
@Injectable()
class Streams {
  @RemoteFunction()
  async *items(count: number, size = 1): AsyncGenerator<string> {
    for (let i = 0; i < count; i++) yield String(i % 10).repeat(size);
  }

  @RemoteFunction()
  @UseGuards(Entering)
  async *guarded(count: number): AsyncGenerator<string | undefined> {
    steps = [];
    for (let i = 0; i < count; i++) {
      steps.push(user.getStore());
      yield user.getStore();
    }
  }

  @RemoteFunction()
  @UseInterceptors(Replacing)
  async *replaced(count: number): AsyncGenerator<number> {
    for (let i = 0; i < count; i++) yield i;
  }

  @RemoteFunction()
  async *entering(count: number): AsyncGenerator<string | undefined> {
    yield user.getStore();
    user.enterWith('bob');
    for (let i = 0; i < count; i++) yield user.getStore();
    await sleep(5);
    yield user.getStore();
  }

  @RemoteFunction()
  observable(): Observable<bigint> {
    return of(1n, 2n);
  }

  @RemoteFunction()
  async *resolved(): AsyncGenerator<number> {
    for (let i = 0; i < 10; i++) yield await Promise.resolve(i);
  }

  @RemoteFunction()
  async *placed(): AsyncGenerator<string> {
    yield at(7n, 'seven');
  }

  @RemoteFunction({ resumable: true })
  async *resumable(): AsyncGenerator<string> {
    yield at(7n, 'seven');
  }

  @RemoteFunction({ resumable: true })
  held(): { rows: AsyncIterable<string> } {
    return { rows: this.resumable() };
  }

  @RemoteFunction()
  async *slow(): AsyncGenerator<string> {
    try {
      yield 'first';
      await sleep(50);
      yield 'second';
    } finally {
      closed += 1;
    }
  }

  @RemoteFunction()
  async *endless(size: number): AsyncGenerator<Uint8Array> {
    for (made = 1; ; made++) yield new Uint8Array(size);
  }

  @RemoteFunction()
  async *failing(when: 'at once' | 'later'): AsyncGenerator<number> {
    if (when === 'later') yield 1;
    throw new TypeError('secret');
  }

  @RemoteFunction()
  failed(): Observable<number> {
    return throwError(() => new TypeError('secret'));
  }

  @RemoteFunction()
  async *unfit(): AsyncGenerator<unknown> {
    yield 'fits';
    yield () => undefined;
  }

  @RemoteFunction()
  async *nested(): AsyncGenerator<unknown> {
    yield 'fits';
    yield this.items(1);
  }

  @RemoteFunction()
  async *deep(levels: number): AsyncGenerator<unknown> {
    let value: unknown = 'deep';
    for (let i = 0; i < levels; i++) value = [value];
    yield value;
  }

  @RemoteFunction()
  plain(value: unknown): unknown {
    return value;
  }

  @RemoteFunction()
  async after(milliseconds: number): Promise<string> {
    await sleep(milliseconds);
    return 'slow';
  }
}

function stepping(milliseconds: number): void {
  let now = performance.now();
  vi.spyOn(performance, 'now').mockImplementation(() => {
    now += milliseconds;
    return now;
  });
  onTestFinished(() => void vi.restoreAllMocks());
}

/** The items of the only call, and the error that ended them. */
async function readOf(peer: PeerClient, name: string, ...args: unknown[]) {
  const items: unknown[] = [];
  const { live, value } = await answerOf<AsyncIterable<unknown>>(peer, { name, args });
  try {
    for await (const item of await value()) items.push(item);
    return { live, items };
  } catch (error) {
    return { live, items, error: (error as { code: string }).code };
  }
}

describe.each([
  ['behind a pipe', false],
  ['of a function that nothing stands before', true],
])('%s', (_, bare) => {
  /** On a machine whose clock stands still, for it may be a busy one. */
  const start = (milliseconds = 0) => {
    stepping(milliseconds);
    return startStreams({ functions: Streams as never, bare, live: { forceEncryption: false } });
  };

  describe('a stream that has ended before its outcome leaves', () => {
    it('is an ordinary result, of a generator and of an Observable, behind guards too', async () => {
      const peer = await (await start()).client();
      expect(await readOf(peer, 'items', 0)).toEqual({ live: false, items: [] });
      expect(await readOf(peer, 'items', 3)).toEqual({ live: false, items: ['0', '1', '2'] });
      expect(await readOf(peer, 'observable')).toEqual({ live: false, items: [1n, 2n] });
      expect(await readOf(peer, 'resolved')).toMatchObject({ live: false, items: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] });
      expect(await readOf(peer, 'deep', 32)).toEqual({ live: false, items: [expect.any(Array)] });
      expect(await readOf(peer, 'guarded', 2)).toEqual({ live: false, items: ['alice', 'alice'] });
    });

    it('is given again to a retransmission', async () => {
      const peer = await (await start()).client();
      const frame = peer.frame([{ name: 'items', args: [2] }]);
      for (let i = 0; i < 3; i++) {
        expect(await listOf(only(await peer.send(frame)) as AsyncIterable<unknown>)).toEqual(['0', '1']);
      }
    });

    it('is an outcome among others, and in step 4', async () => {
      const { client } = await start();
      const peer = await client();
      const calls = [
        { name: 'items', args: [2] },
        { name: 'plain', args: [5] },
        { name: 'items', args: [1] },
      ];
      const reply = (await peer.send(peer.frame(calls))) as { outcomes: Extract<Outcome, { ok: true }>[] };
      const [first, second, third] = reply.outcomes.map(({ value }) => value);
      expect(await listOf(first as AsyncIterable<unknown>)).toEqual(['0', '1']);
      expect(second).toBe(5);
      expect(await listOf(third as AsyncIterable<unknown>)).toEqual(['0']);
      const other = await client();
      await other.steps1and2();
      const step4 = await post(other.url, other.step3Of([encodeCalls(calls.slice(0, 1))]));
      const reply4 = other.step4(step4.body) as NonNullable<ReturnType<PeerClient['step4']>>;
      expect(await listOf(only(reply4) as AsyncIterable<unknown>)).toEqual(['0', '1']);
    });

    it('streams in a message that is live for another reason', async () => {
      const peer = await (await start()).client();
      const answer = await callLive(peer, { name: 'after', args: [100] }, { name: 'items', args: [2] });
      expect(await listOf(await answer.value<AsyncIterable<unknown>>(1))).toEqual(['0', '1']);
      expect(await answer.value(0)).toBe('slow');
      expect(await answer.ended).toBeUndefined();
    });

    it('has its items without positions if the function is not resumable', async () => {
      const peer = await (await start()).client();
      expect(await readOf(peer, 'placed')).toEqual({ live: false, items: ['seven'] });
      expect(await readOf(peer, 'resumable')).toEqual({ live: true, items: ['seven'] });
    });
  });

  describe('a stream is live', () => {
    it.each([32, 33, 100])('with %i items, and loses none of those that were read before', async (count) => {
      const peer = await (await start()).client();
      const items = Array.from({ length: count }, (_, i) => String(i % 10));
      expect(await readOf(peer, 'items', count)).toEqual({ live: true, items });
      expect(await readOf(peer, 'guarded', count)).toEqual({ live: true, items: items.map(() => 'alice') });
      expect(steps).toEqual(items.map(() => 'alice'));
    });

    it('if it takes longer than 5 ms', async () => {
      const peer = await (await start(2)).client();
      expect(await readOf(peer, 'items', 1)).toEqual({ live: false, items: ['0'] });
      expect(await readOf(peer, 'items', 10)).toMatchObject({ live: true, items: expect.any(Array) });
    });

    it('with the store that its call or one of its own steps entered, and with no other', async () => {
      const peer = await (await start()).client();
      const bob = (count: number) => [undefined, ...Array.from({ length: count + 1 }, () => 'bob')];
      for (const count of [1, 40]) {
        expect(await readOf(peer, 'entering', count)).toEqual({ live: true, items: bob(count) });
        const items = Array.from({ length: count }, (_, i) => [i, 'alice']);
        expect(await readOf(peer, 'replaced', count)).toEqual({ live: count > 32, items });
      }
    });

    it('if its function is resumable, wherever it stands in the result', async () => {
      const peer = await (await start()).client();
      const answer = await callLive(peer, { name: 'held', args: [] });
      const { rows } = await answer.value<{ rows: AsyncIterable<unknown> }>();
      expect(await listOf(rows)).toEqual(['seven']);
      expect(answer.streams.list[0]).toMatchObject({ info: { resumable: true }, position: [7n, 1] });
    });

    it('if it waits: its first item does not', async () => {
      const peer = await (await start()).client();
      const items = (await resultOf<AsyncIterable<string>>(peer, { name: 'slow', args: [] }))[Symbol.asyncIterator]();
      closed = 0;
      expect([await items.next(), closed]).toEqual([{ done: false, value: 'first' }, 0]);
      expect([await items.next(), await items.next(), closed]).toEqual([
        { done: false, value: 'second' },
        { done: true, value: undefined },
        1,
      ]);
    });

    it('if it is longer than 32 KiB, by itself or with others of its batch', async () => {
      const peer = await (await start()).client();
      const long = await readOf(peer, 'items', 3, 40_000);
      expect([long.live, long.items.map((item) => String(item).length)]).toEqual([true, [40_000, 40_000, 40_000]]);
      expect((await readOf(peer, 'items', 3, 1_000)).live).toBe(false);
      const batch = async (count: number) => {
        const calls = Array.from({ length: count }, () => ({ name: 'items', args: [10, 1_000] }));
        return sendLive(peer, peer.frame(calls), count);
      };
      expect(await batch(3)).toBeInstanceOf(Uint8Array);
      const together = await batch(4);
      for (let place = 0; place < 4; place++) {
        expect(await listOf(await (together as LiveAnswer).value<AsyncIterable<unknown>>(place))).toHaveLength(10);
      }
    });

    it('if it does not end, and is read ahead no further than 32 items, or 32 KiB', async () => {
      const { client } = await start();
      for (const [size, read] of [
        [10, 32],
        [10_000, 4],
        [1_000_000, 1],
      ] as const) {
        const peer = await client();
        await peer.steps1and2();
        // the result of a first call waits until it is asked for
        await post(peer.url, peer.step3Of([encodeCalls([{ name: 'endless', args: [size] }])]));
        expect([size, made]).toEqual([size, read]);
      }
    });

    it('if it fails, or brings what cannot be sent: its items come before', async () => {
      const logged = vi.spyOn(Logger.prototype, 'error').mockReturnValue(undefined);
      const peer = await (await start()).client();
      const failed = (items: unknown[]) => ({ live: true, items, error: 'internal' });
      expect(await readOf(peer, 'failing', 'at once')).toEqual(failed([]));
      expect(await readOf(peer, 'failing', 'later')).toEqual(failed([1]));
      expect(await readOf(peer, 'failed')).toEqual(failed([]));
      expect(await readOf(peer, 'unfit')).toEqual(failed(['fits']));
      expect(await readOf(peer, 'nested')).toEqual(failed(['fits']));
      expect(logged.mock.calls.map(([sentence]) => String(sentence).replace(/: .*/, ''))).toEqual([
        'Streams.failing, item 0 (from 0) of what it streams',
        'Streams.failing, item 1 (from 0) of what it streams',
        'Streams.failed, item 0 (from 0) of what it streams',
        'Streams.unfit, item 1 (from 0) of what it streams',
        'Streams.nested, item 1 (from 0) of what it streams',
      ]);
      logged.mockRestore();
    });
  });

  it('a plain call is refused before anything of its generator ran', async () => {
    const peer = await (await start()).client();
    made = 0;
    const { body } = await post(peer.url, encodeCalls([{ name: 'endless', args: [1] }]), {
      'content-type': 'application/cbor',
    });
    expect(decodeReply(body)).toMatchObject({ outcomes: [{ ok: false, code: 'encryption_required' }] });
    expect(made).toBe(0);
  });

  it('a generator that was begun is closed if nobody reads on', async () => {
    const peer = await (await start()).client();
    closed = 0;
    const answer = await callLive(peer, { name: 'slow', args: [] });
    await answer.value();
    answer.cut();
    await vi.waitFor(() => expect(closed).toBe(1));
  });
});
