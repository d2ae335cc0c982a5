import 'reflect-metadata';
import { AsyncLocalStorage } from 'node:async_hooks';
import { Readable } from 'node:stream';
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
import { RemoteFunction, RemoteFunctions, remoteCall } from '@sealwire/nest';
import { map, Observable, type Subscriber } from 'rxjs';
import { expect, it, vi } from 'vitest';
import { callLive, type LiveAnswer } from './live-peer.js';
import { startStreams } from './streams-application.js';

const store = new AsyncLocalStorage<string>();

class Entering implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    store.enterWith(`guard ${remoteCall(context)?.args[0]}`);
    return true;
  }
}

class Running implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const name = `interceptor ${remoteCall(context)?.args[0]}`;
    return new Observable((subscriber) => store.run(name, () => next.handle().subscribe(subscriber)));
  }
}

async function* stores(): AsyncGenerator<unknown> {
  yield store.getStore();
  await new Promise(setImmediate);
  yield store.getStore();
}

/** Hands on the first item, then throws into the generator, whose answer is the second one, and closes it. */
class Throwing implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const thrown = async function* (items: AsyncGenerator<unknown>): AsyncGenerator<unknown> {
      yield (await items.next()).value;
      yield (await store.run('another', () => items.throw(new Error('of the interceptor')))).value;
      yield (await store.run('another', () => items.return('returned'))).value;
    };
    return next.handle().pipe(map((value) => thrown(value as AsyncGenerator<unknown>)));
  }
}

const closed: unknown[] = [];

async function* closing(): AsyncGenerator<unknown> {
  try {
    for (;;) {
      await new Promise(setImmediate);
      try {
        yield store.getStore();
      } catch (error) {
        yield `${store.getStore()}: ${(error as Error).message}`;
      }
    }
  } finally {
    await new Promise(setImmediate);
    closed.push(store.getStore());
  }
}

@RemoteFunctions('live')
@Injectable()
class Streams {
  @RemoteFunction()
  @UseGuards(Entering)
  closing(_name: string): AsyncGenerator<unknown> {
    return closing();
  }

  @RemoteFunction()
  @UseGuards(Entering)
  @UseInterceptors(Throwing)
  thrown(_name: string): AsyncGenerator<unknown> {
    return closing();
  }

  @RemoteFunction()
  @UseGuards(Entering)
  guarded(_name: string): AsyncGenerator<unknown> {
    return stores();
  }

  @RemoteFunction()
  @UseGuards(Entering)
  @UseInterceptors(Running)
  async *intercepted(_name: string): AsyncGenerator<unknown> {
    yield* stores();
  }

  @RemoteFunction()
  @UseGuards(Entering)
  iterable(_name: string): AsyncIterable<unknown> {
    return { [Symbol.asyncIterator]: stores };
  }

  @RemoteFunction()
  @UseGuards(Entering)
  inside(_name: string): unknown {
    return { deep: [{ rows: stores() }] };
  }

  @RemoteFunction()
  @UseGuards(Entering)
  @UseInterceptors(Running)
  observed(_name: string): unknown {
    return { rows: new Observable((subscriber) => subscriber.add(subscribed(subscriber))) };
  }

  @RemoteFunction()
  @UseInterceptors(Running)
  readable(_name: string): Readable {
    return Readable.from(stores());
  }

  @RemoteFunction()
  @UseInterceptors(Running)
  pulled(_name: string): unknown {
    let pulls = 0;
    const pull = async (controller: ReadableStreamDefaultController): Promise<void> => {
      await new Promise(setImmediate);
      if (pulls++ < 2) controller.enqueue(Buffer.from(`${store.getStore()};`));
      else controller.close();
    };
    return { bytes: new ReadableStream({ pull }, { highWaterMark: 0 }) };
  }

  /** What it returns cannot be sent. */
  @RemoteFunction()
  @UseInterceptors(Running)
  unsendable(_name: string): unknown {
    return [Readable.from(stores()), () => undefined];
  }

  @RemoteFunction()
  lone(_name: string): unknown {
    return { bytes: Readable.from(stores(), { objectMode: true }) };
  }

  @RemoteFunction()
  async *entering(name: string): AsyncGenerator<unknown> {
    const before = store.getStore();
    store.enterWith(name);
    yield before;
    yield* stores();
  }
}

function subscribed(subscriber: Subscriber<unknown>): void {
  const atStart = store.getStore();
  setImmediate(() => {
    subscriber.next(atStart);
    subscriber.next(store.getStore());
    subscriber.complete();
  });
}

/** The first stream in a value. */
function streamIn(value: object): AsyncIterable<unknown> {
  return Symbol.asyncIterator in value ? (value as AsyncIterable<unknown>) : streamIn(Object.values(value)[0]);
}

async function all(answer: LiveAnswer, place: number): Promise<unknown[]> {
  const items: unknown[] = [];
  for await (const item of streamIn(await answer.value<object>(place))) {
    if (item instanceof Uint8Array) items.push(...Buffer.from(item).toString().split(';').slice(0, -1));
    else items.push(item);
  }
  return items;
}

it.each([
  ['guarded', ['guard a', 'guard a'], ['guard b', 'guard b']],
  ['intercepted', ['interceptor a', 'interceptor a'], ['interceptor b', 'interceptor b']],
  ['iterable', ['guard a', 'guard a'], ['guard b', 'guard b']],
  ['inside', ['guard a', 'guard a'], ['guard b', 'guard b']],
  ['observed', ['interceptor a', 'interceptor a'], ['interceptor b', 'interceptor b']],
  ['readable', ['interceptor a', 'interceptor a'], ['interceptor b', 'interceptor b']],
  ['pulled', ['interceptor a', 'interceptor a'], ['interceptor b', 'interceptor b']],
  ['entering', [undefined, 'a', 'a'], [undefined, 'b', 'b']],
])('the generator of %s runs in the async context of its call, and of no other', async (name, first, second) => {
  const { client } = await startStreams({ functions: Streams });
  const answer = await callLive(await client(), { name, args: ['a'] }, { name, args: ['b'] });
  expect([await all(answer, 0), await all(answer, 1)]).toEqual([first, second]);
});

it('a stream that takes the place of one that was not sent is read in the async context of its own call', async () => {
  const logged = vi.spyOn(Logger.prototype, 'error').mockReturnValue(undefined);
  const { client } = await startStreams({ functions: Streams });
  const answer = await callLive(await client(), { name: 'unsendable', args: ['a'] }, { name: 'lone', args: ['b'] });
  await expect(answer.value(0)).rejects.toMatchObject({ code: 'internal' });
  expect(await all(answer, 1)).toEqual([undefined, undefined]);
  logged.mockRestore();
});

it('a generator whose consumer is gone is closed in the async context of its call', async () => {
  closed.length = 0;
  const { client } = await startStreams({ functions: Streams });
  const answer = await callLive(await client(), { name: 'closing', args: ['a'] }, { name: 'closing', args: ['b'] });
  for (const place of [0, 1]) {
    const items = (await answer.value<AsyncIterable<unknown>>(place))[Symbol.asyncIterator]();
    expect((await items.next()).value).toBe(`guard ${'ab'[place]}`);
  }
  answer.cut();
  await vi.waitFor(() => expect(closed.toSorted()).toEqual(['guard a', 'guard b']));
});

it('an interceptor that throws into a generator, or returns from it, does so in the async context of its call', async () => {
  closed.length = 0;
  const { client } = await startStreams({ functions: Streams });
  const answer = await callLive(await client(), { name: 'thrown', args: ['a'] }, { name: 'thrown', args: ['b'] });
  for (const place of [0, 1]) {
    const name = `guard ${'ab'[place]}`;
    expect(await all(answer, place)).toEqual([name, `${name}: of the interceptor`, 'returned']);
  }
  expect(closed.toSorted()).toEqual(['guard a', 'guard b']);
});
