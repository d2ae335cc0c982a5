import 'reflect-metadata';
import { AsyncLocalStorage } from 'node:async_hooks';
import { Readable } from 'node:stream';
import {
  type CallHandler,
  type CanActivate,
  ClassSerializerInterceptor,
  Controller,
  type ExecutionContext,
  Get,
  Injectable,
  Module,
  SerializeOptions,
  UseGuards,
  UseInterceptors,
} from '@nestjs/common';
import { at, RemoteFunction, RemoteFunctions } from '@sealwire/nest';
import { Exclude, Expose } from 'class-transformer';
import { from } from 'rxjs';
import { expect, it, vi } from 'vitest';
import { callLive, type LiveAnswer } from './live-peer.js';
import { startStreams } from './streams-application.js';
import { only, urlOf } from './support.js';

class User {
  @Exclude()
  password = 'secret';

  constructor(readonly name: string) {}
}

class Named {
  @Expose()
  name!: string;
}

const store = new AsyncLocalStorage<string>();

class Entering implements CanActivate {
  canActivate(): boolean {
    store.enterWith('guard');
    return true;
  }
}

/** As an application writes it, with a member that no copy of it has. */
@Injectable()
class Counting extends ClassSerializerInterceptor {
  #calls = 0;

  override intercept(
    context: ExecutionContext,
    next: CallHandler,
  ): ReturnType<ClassSerializerInterceptor['intercept']> {
    this.#calls += 1;
    return super.intercept(context, next);
  }
}

const readables: Readable[] = [];
let closed = 0;

async function* users(): AsyncGenerator<User> {
  try {
    yield new User(`a ${store.getStore()}`);
    await new Promise(setImmediate);
    yield new User('b');
    await new Promise(setImmediate);
    yield new User('c');
  } finally {
    closed += 1;
  }
}

@RemoteFunctions('live')
@UseInterceptors(ClassSerializerInterceptor)
@UseGuards(Entering)
@Controller('users')
class Users {
  @RemoteFunction()
  inside(how: string): unknown {
    if (how === 'generator') return { rows: users() };
    if (how === 'iterable') return { rows: { [Symbol.asyncIterator]: users } };
    if (how === 'observable') return { rows: from([new User('a guard'), new User('b'), new User('c')]) };
    if (how === 'map') return { rows: new Map([['in', users()]]) };
    return { rows: Readable.from(users()) };
  }

  @RemoteFunction()
  itself(how: string): unknown {
    return how === 'generator' ? users() : { [Symbol.asyncIterator]: users };
  }

  @RemoteFunction({ resumable: true })
  async *positioned(): AsyncGenerator<User> {
    yield at(1, new User('a'));
  }

  @RemoteFunction()
  bytes(): unknown {
    return { rows: new Blob(['abc']).stream() };
  }

  @RemoteFunction()
  bytesThemselves(): unknown {
    return new Blob(['abc']).stream();
  }

  @RemoteFunction()
  twice(): unknown {
    const rows = Readable.from(users());
    readables.push(rows);
    return { rows, again: rows };
  }

  @RemoteFunction()
  failing(): unknown {
    return { rows: new Readable({ objectMode: true, read: failRead }) };
  }

  @RemoteFunction()
  @SerializeOptions({ type: Named, strategy: 'excludeAll' })
  async *typed(): AsyncGenerator<unknown> {
    yield { name: 'a', password: 'secret' };
  }

  @Get()
  @RemoteFunction()
  @UseInterceptors(Counting)
  counted(): unknown {
    return { user: new User('a'), map: new Map([['user', new User('b')]]) };
  }
}

function failRead(this: Readable): void {
  this.destroy(new Error('broken'));
}

async function items(answer: LiveAnswer): Promise<unknown[]> {
  const value = await answer.value<{ rows?: unknown }>();
  const rows = value.rows ?? value;
  const found: unknown[] = [];
  const stream = rows instanceof Map ? rows.get('in') : rows;
  for await (const item of stream as AsyncIterable<unknown>) found.push(item);
  return found;
}

const NAMES = [{ name: 'a guard' }, { name: 'b' }, { name: 'c' }];

it.each([
  ['inside', 'generator'],
  ['inside', 'iterable'],
  ['inside', 'observable'],
  ['inside', 'readable'],
  ['inside', 'map'],
  ['itself', 'generator'],
  ['itself', 'iterable'],
])('items of a stream are serialized as classes: %s, %s', async (name, how) => {
  const { client } = await startStreams({ functions: Users });
  expect(await items(await callLive(await client(), { name, args: [how] }))).toEqual(NAMES);
});

it('items keep their positions, and the type of the options', async () => {
  const { client } = await startStreams({ functions: Users });
  const peer = await client();
  const positioned = await callLive(peer, { name: 'positioned', args: [] });
  expect(await items(positioned)).toEqual([{ name: 'a' }]);
  expect(positioned.streams.list[0]?.position).toEqual([1, 1]);
  expect(await items(await callLive(peer, { name: 'typed', args: [] }))).toEqual([{ name: 'a' }]);
});

it.each(['bytes', 'bytesThemselves'])('%s stay as they are', async (name) => {
  const { client } = await startStreams({ functions: Users });
  const answer = await callLive(await client(), { name, args: [] });
  const value = await answer.value<{ rows?: ReadableStream }>();
  const bytes = value.rows ?? value;
  expect(bytes).toBeInstanceOf(ReadableStream);
  expect(await new Response(bytes as ReadableStream).text()).toBe('abc');
});

it('a source closes as soon as its consumer is gone', async () => {
  closed = 0;
  const { client } = await startStreams({ functions: Users });
  const answer = await callLive(await client(), { name: 'inside', args: ['generator'] });
  const { rows } = await answer.value<{ rows: AsyncIterable<unknown> }>();
  await rows[Symbol.asyncIterator]().next();
  answer.cut();
  await vi.waitFor(() => expect(closed).toBe(1));
});

it('a stream that stands twice is refused and closed, though nothing of it was read', async () => {
  const { client } = await startStreams({ functions: Users });
  const peer = await client();
  expect(only(await peer.call('twice'))).toMatchObject({ code: 'internal' });
  await vi.waitFor(() => expect(readables.map(({ destroyed }) => destroyed)).toEqual([true]));
});

it('a stream of Node that fails ends for its consumer alone', async () => {
  const { client } = await startStreams({ functions: Users });
  const answer = await callLive(await client(), { name: 'failing', args: [] });
  await expect(items(answer)).rejects.toMatchObject({ code: 'internal' });
});

it('an interceptor with private members serializes results, and answers of routes as before', async () => {
  @Module({ controllers: [Users] })
  class UsersModule {}
  const { client, app } = await startStreams({ functions: [], imports: [UsersModule] });
  expect(only(await (await client()).call('counted'))).toEqual({
    user: { name: 'a' },
    map: new Map([['user', { name: 'b' }]]),
  });
  const route = await fetch(urlOf(app, '/users'));
  // what class-transformer makes of a Map
  expect(await route.json()).toEqual({ user: { name: 'a' }, map: { user: { name: 'b', password: 'secret' } } });
});
