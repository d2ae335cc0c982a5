import 'reflect-metadata';
import { AsyncLocalStorage } from 'node:async_hooks';
import {
  type CallHandler,
  type CanActivate,
  type ExecutionContext,
  Injectable,
  type NestInterceptor,
  UseGuards,
  UseInterceptors,
} from '@nestjs/common';
import { RemoteFunction, RemoteFunctions, remoteCall } from '@sealwire/nest';
import { Observable, type Subscriber } from 'rxjs';
import { expect, it } from 'vitest';
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

@RemoteFunctions('live')
@Injectable()
class Streams {
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
  for await (const item of streamIn(await answer.value<object>(place))) items.push(item);
  return items;
}

it.each([
  ['guarded', ['guard a', 'guard a'], ['guard b', 'guard b']],
  ['intercepted', ['interceptor a', 'interceptor a'], ['interceptor b', 'interceptor b']],
  ['iterable', ['guard a', 'guard a'], ['guard b', 'guard b']],
  ['inside', ['guard a', 'guard a'], ['guard b', 'guard b']],
  ['observed', ['interceptor a', 'interceptor a'], ['interceptor b', 'interceptor b']],
  ['entering', [undefined, 'a', 'a'], [undefined, 'b', 'b']],
])('the generator of %s runs in the async context of its call, and of no other', async (name, first, second) => {
  const { client } = await startStreams({ functions: Streams });
  const answer = await callLive(await client(), { name, args: ['a'] }, { name, args: ['b'] });
  expect([await all(answer, 0), await all(answer, 1)]).toEqual([first, second]);
});
