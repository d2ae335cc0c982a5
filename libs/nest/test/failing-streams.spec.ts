import 'reflect-metadata';
import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { Injectable, Logger, type NestInterceptor, Res, StreamableFile, UseInterceptors } from '@nestjs/common';
import { decodeReply, encodeCalls } from '@sealwire/core';
import {
  ExactlyOnce,
  type Injected,
  KeyStore,
  RemoteFile,
  RemoteFunction,
  RemoteFunctions,
  RemoteSession,
  remoteBytes,
  remoteFile,
  SessionData,
  SessionDirectory,
  SessionStore,
} from '@sealwire/nest';
import { mergeMap, Subject, throwError } from 'rxjs';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { MemoryKeyStore, MemoryStore } from '../src/sessions/index.js';
import { callLive, type LiveAnswer, listOf, sendLive } from './live-peer.js';
import { type StartOptions, startStreams } from './streams-application.js';
import { only, post } from './support.js';

/*
 * A stream of Node that fails while nobody listens throws its error, which ends the process. Whatever a function returned waits
 * without a reader: for a slower call of its batch, for interceptors, for the client. Its reader has to meet the error instead.
 */

let made: Readable[] = [];

function track<T extends Readable>(stream: T): T {
  made.push(stream);
  return stream;
}

/** Nobody who listens to a stream may tell: that would keep it from ending the process. */
async function failed(): Promise<void> {
  while (made.some(({ closed }) => !closed)) await turn();
  // behind their errors
  await turn();
}

const missing = () => track(createReadStream('/nonexistent/file'));

function broken(objectMode = false): Readable {
  return track(new Readable({ objectMode, read() {} })).destroy(new Error('broken'));
}

class Row {
  readonly name = 'a row';
  readonly content = missing();
}

const KINDS: Record<string, () => unknown> = {
  'a file that is not there': missing,
  'a Readable that has failed': broken,
  'a Readable of items that has failed': () => broken(true),
  'a Readable that was closed without an error': () => track(new Readable({ read() {} })).destroy(),
  'one in an object': () => ({ name: 'a', content: missing() }),
  'one in an object of a class': () => new Row(),
  'one in a Map, an array and a Set': () => new Map([['a', [new Set([broken()])]]]),
  'remoteBytes()': () => remoteBytes(missing()),
  'remoteFile()': () => remoteFile(missing(), { name: 'a', type: 'b' }),
  'a StreamableFile': () => new StreamableFile(missing()),
  'a web stream that has failed': () =>
    new ReadableStream({ start: (controller) => controller.error(new Error('broken')) }),
  "a web stream of a file's": () => Readable.toWeb(missing()),
  'an Observable': () => throwError(() => new Error('broken')),
  'a Subject that has failed': () => {
    const subject = new Subject<number>();
    subject.error(new Error('broken'));
    return subject;
  },
  'a generator': () =>
    (async function* () {
      yield* missing();
    })(),
};

const UNSENT: typeof KINDS = {
  ...KINDS,
  'a file that is there': () => track(createReadStream(import.meta.filename)),
  'one in an object that is there': () => ({ content: track(createReadStream(import.meta.filename)) }),
};

const kinds = Object.keys(KINDS);
const unsent = Object.keys(UNSENT);
const make = (kind: string): unknown => UNSENT[kind]?.();

@Injectable()
class Waiting implements NestInterceptor {
  intercept: NestInterceptor['intercept'] = (_context, next) =>
    next.handle().pipe(
      mergeMap(async (value) => {
        await failed();
        return value;
      }),
    );
}

@RemoteFunctions('live')
@Injectable()
class Returning {
  @RemoteFunction()
  make(kind: string): unknown {
    return make(kind);
  }

  @RemoteFunction()
  async later(kind: string): Promise<unknown> {
    await turn();
    return make(kind);
  }

  @RemoteFunction()
  async slow(): Promise<string> {
    // behind what `later` makes
    await turn();
    await failed();
    return 'slow';
  }

  @RemoteFunction()
  @UseInterceptors(Waiting)
  intercepted(kind: string): unknown {
    return make(kind);
  }

  @RemoteFunction({ exactlyOnce: true })
  async once(kind: string, @RemoteSession() session: Injected<RemoteSession>): Promise<unknown> {
    await session.set('kind', kind);
    return make(kind);
  }

  @RemoteFunction({ exactlyOnce: true })
  unsendable(kind: string): unknown {
    return [() => 1, make(kind)];
  }

  @RemoteFunction()
  beside(kind: string): unknown {
    return [() => 1, make(kind)];
  }

  @RemoteFunction()
  unreadable(kind: string): unknown {
    return {
      get first(): never {
        throw new Error('unreadable');
      },
      content: make(kind),
    };
  }

  @RemoteFunction({ resumable: true })
  two(kind: string): unknown {
    return [make(kind), make(kind)];
  }

  @RemoteFunction()
  many(): unknown {
    return Array.from({ length: 260 }, () => broken());
  }

  @RemoteFunction()
  shared(): Readable | undefined {
    return made[0];
  }

  @RemoteFunction()
  async responding(kind: string, @Res() response: Injected<{ send(body: unknown): void }>): Promise<void> {
    response.send(make(kind));
    await failed();
  }

  @RemoteFunction()
  written(kind: string, @Res() response: Injected<{ send(body: unknown): void }>): unknown {
    response.send('written');
    return make(kind);
  }
}

class Once extends ExactlyOnce {
  async run(...[, work]: Parameters<ExactlyOnce['run']>): Promise<Uint8Array> {
    return (await work({})).outcome;
  }
}

/** The database is slow: what a call wrote to its session is committed after its function's streams have failed. */
class SlowStore extends MemoryStore {
  override async write(...row: Parameters<MemoryStore['write']>): Promise<boolean> {
    if (String(row[1].kind) in KINDS) await failed();
    return super.write(...row);
  }
}

const store = {
  providers: [
    { provide: SessionStore, useClass: SlowStore },
    { provide: SessionDirectory, useExisting: SessionStore },
    { provide: SessionData, useExisting: SessionStore },
    { provide: KeyStore, useClass: MemoryKeyStore },
    { provide: ExactlyOnce, useClass: Once },
  ],
};

const start = (options: StartOptions = {}) =>
  startStreams({ functions: Returning, bare: true, options: { store }, ...options });

/** Reads every stream in a value to its end. */
async function read(value: unknown): Promise<unknown> {
  if (value instanceof RemoteFile) return value.bytes();
  if (value instanceof ReadableStream) return new Response(value).arrayBuffer();
  if (typeof value !== 'object' || value === null) return undefined;
  if (Symbol.asyncIterator in value) return listOf(value as AsyncIterable<unknown>);
  const parts = value instanceof Map || value instanceof Set ? [...value.values()] : Object.values(value);
  return Promise.all(parts.map(read));
}

const internal = { code: 'internal' };
const readOf = async (answer: LiveAnswer, place = 0) => read(await answer.value(place));

let uncaught: unknown[];
const note = (error: unknown) => void uncaught.push(error);

beforeEach(() => {
  made = [];
  uncaught = [];
  process.on('uncaughtException', note).on('unhandledRejection', note);
  vi.spyOn(Logger.prototype, 'error').mockReturnValue(undefined);
});

afterEach(async () => {
  await failed();
  process.off('uncaughtException', note).off('unhandledRejection', note);
  vi.restoreAllMocks();
  expect(uncaught).toEqual([]);
});

describe('the error of a stream that fails before it is read is met by its reader', () => {
  it.each(kinds)('in a call of its own: %s', async (kind) => {
    const peer = await (await start()).client();
    for (const name of ['make', 'later']) {
      await expect(readOf(await callLive(peer, { name, args: [kind] }))).rejects.toMatchObject(internal);
    }
  });

  it.each(kinds)('in a batch with a slower call: %s', async (kind) => {
    const peer = await (await start()).client();
    const answer = await callLive(peer, { name: 'make', args: [kind] }, { name: 'slow', args: [] });
    expect(await answer.value(1)).toBe('slow');
    await expect(readOf(answer)).rejects.toMatchObject(internal);
  });

  it.each(kinds)('in the first batch of a client, whose outcomes wait for each other: %s', async (kind) => {
    const peer = await (await start()).client();
    await peer.steps1and2();
    const calls = ['make', 'later', 'slow'].map((name) => ({ name, args: name === 'slow' ? [] : [kind] }));
    peer.step4((await post(peer.url, peer.step3Of([encodeCalls(calls)]))).body);
    const answer = (await sendLive(peer, peer.askFirst(), 3)) as LiveAnswer;
    expect(await answer.value(2)).toBe('slow');
    for (const place of [0, 1]) await expect(readOf(answer, place)).rejects.toMatchObject(internal);
  });

  it.each(kinds)('behind an interceptor that waits: %s', async (kind) => {
    const peer = await (await start()).client();
    const answer = await callLive(peer, { name: 'intercepted', args: [kind] });
    await expect(readOf(answer)).rejects.toMatchObject(internal);
  });

  it.each(kinds)('behind which its function goes on, for it was sent through the response: %s', async (kind) => {
    const peer = await (await start()).client();
    const answer = await callLive(peer, { name: 'responding', args: [kind] });
    await expect(readOf(answer)).rejects.toMatchObject(internal);
  });
});

describe('what cannot be sent is closed, and its error ends nothing', () => {
  it.each(unsent)('in the outcome of an exactlyOnce function: %s', async (kind) => {
    const peer = await (await start()).client();
    for (const name of ['once', 'unsendable']) expect(only(await peer.call(name, kind))).toMatchObject(internal);
  });

  it.each(unsent)('in a plain call: %s', async (kind) => {
    const { url } = await (await start({ live: { forceEncryption: false } })).client();
    const headers = { 'content-type': 'application/cbor' };
    const { body } = await post(url, encodeCalls([{ name: 'make', args: [kind] }]), headers);
    expect(decodeReply(body)).toMatchObject({ outcomes: [{ ok: false, code: 'encryption_required' }] });
  });

  it.each(unsent)('beside what no result holds: %s', async (kind) => {
    const peer = await (await start()).client();
    expect(only(await peer.call('beside', kind))).toMatchObject(internal);
    const batch = ['beside', 'unreadable'].map((name) => ({ name, args: [kind] }));
    expect(await peer.send(peer.frame(batch))).toMatchObject({ outcomes: [internal, internal] });
    const live = await callLive(peer, ...batch, { name: 'make', args: ['a generator'] });
    await expect(live.value()).rejects.toMatchObject(internal);
  });

  it.each(unsent)('twice in the result of a resumable function: %s', async (kind) => {
    const peer = await (await start()).client();
    const answer = await callLive(peer, { name: 'two', args: [kind] });
    await expect(answer.value()).rejects.toMatchObject(internal);
  });

  it('as one of too many streams', async () => {
    const peer = await (await start()).client();
    const answer = await callLive(peer, { name: 'many', args: [] });
    await expect(answer.value()).rejects.toMatchObject(internal);
  });

  it('unless another call of the batch has returned it too, and streams it', async () => {
    track(Readable.from([Buffer.from('shared')], { objectMode: false }));
    const peer = await (await start()).client();
    const answer = await callLive(peer, { name: 'shared', args: [] }, { name: 'shared', args: [] });
    await expect(answer.value(1)).rejects.toMatchObject(internal);
    expect(await new Response(await answer.value<ReadableStream>()).text()).toBe('shared');
  });

  it.each(unsent)('of a function that answered through its response: %s', async (kind) => {
    const peer = await (await start()).client();
    expect(only(await peer.call('written', kind))).toBe('written');
  });
});
