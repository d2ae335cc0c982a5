import { Injectable, Logger, type NestInterceptor, UseInterceptors } from '@nestjs/common';
import { decodeValue } from '@sealwire/core';
import { UNIT } from '@sealwire/core/live';
import { at, RemoteFunction, RemoteFunctions } from '@sealwire/nest';
import {
  bufferCount,
  catchError,
  concatMap,
  endWith,
  filter,
  from,
  map,
  mergeMap,
  type Observable,
  type OperatorFunction,
  of,
  pipe,
  Subject,
  startWith,
  take,
  tap,
  throwError,
  toArray,
} from 'rxjs';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { callLive, type LiveAnswer, listOf, resultOf } from './live-peer.js';
import { startStreams } from './streams-application.js';

// biome-ignore lint/suspicious/noExplicitAny: what one operator gives and another one takes
type Any = any;

let operator: OperatorFunction<Any, Any>;
let source: Observable<unknown>;

@Injectable()
class Through implements NestInterceptor {
  intercept: NestInterceptor['intercept'] = (_context, next) => next.handle().pipe(operator);
}

@RemoteFunctions('live')
@UseInterceptors(Through)
@Injectable()
class Watching {
  @RemoteFunction({ resumable: true })
  watch(): Observable<unknown> {
    return source;
  }

  @RemoteFunction()
  once(): Observable<unknown> {
    return source;
  }
}

beforeEach(() => {
  source = from([1, 2, 3, 4].map((i) => at(i, { i })));
});

async function answered(): Promise<LiveAnswer> {
  const { client } = await startStreams({ functions: Watching });
  return callLive(await client(), { name: 'watch', args: [] });
}

/** `[position, item]` of each item, as they arrived. */
const pairsOf = (answer: LiveAnswer) =>
  answer.units.filter(({ kind }) => kind === UNIT.item).map(({ bytes }) => decodeValue(bytes));

const indices = map(({ i }: Any) => i);
const later = concatMap(async (value: Any) => value);

describe('interceptors see the items of a resumable Observable without their positions', () => {
  it.each<[string, OperatorFunction<Any, Any>, unknown[]]>([
    ['map()', map((data) => ({ data })), [1, 2, 3, 4].map((i) => [i, { data: { i } }])],
    [
      'tap()',
      pipe(
        tap(({ i }: Any) => expect(i).toBeTypeOf('number')),
        indices,
      ),
      [1, 2, 3, 4].map((i) => [i, i]),
    ],
    [
      'filter()',
      pipe(
        filter(({ i }: Any) => i % 2 === 0),
        indices,
      ),
      [2, 4].map((i) => [i, i]),
    ],
    [
      'bufferCount()',
      pipe(indices, bufferCount(2)),
      [
        [2, [1, 2]],
        [4, [3, 4]],
      ],
    ],
    ['take()', pipe(indices, take(2)), [1, 2].map((i) => [i, i])],
    ['an item of their own first', pipe(indices, startWith(0)), [[undefined, 0], ...[1, 2, 3, 4].map((i) => [i, i])]],
    [
      'positions of their own',
      pipe(
        indices,
        mergeMap((i) => [at(-i, i), at(i, i)]),
      ),
      [1, 2, 3, 4].flatMap((i) => [
        [-i, i],
        [i, i],
      ]),
    ],
    ['items that come later have none', pipe(indices, later), [1, 2, 3, 4].map((i) => [undefined, i])],
    [
      'several for one have none',
      pipe(
        indices,
        mergeMap((i) => [i, i]),
      ),
      [1, 1, 2, 2, 3, 3, 4, 4].map((i) => [undefined, i]),
    ],
    ['one for all', pipe(indices, toArray()), [[4, [1, 2, 3, 4]]]],
    [
      'what is left at the end',
      pipe(indices, bufferCount(3)),
      [
        [3, [1, 2, 3]],
        [4, [4]],
      ],
    ],
    [
      'items of their own last, behind dropped ones',
      pipe(
        indices,
        filter((i) => i === 2),
        endWith('x', 'y'),
      ),
      [
        [2, 2],
        [4, 'x'],
        [4, 'y'],
      ],
    ],
    [
      'an item in place of an error, behind dropped ones',
      pipe(
        indices,
        filter((i) => i % 2 === 0),
        mergeMap((i) => (i < 4 ? [i] : throwError(() => new Error('no more')))),
        catchError(() => of('x')),
      ),
      [
        [2, 2],
        [4, 'x'],
      ],
    ],
  ])('%s', async (_name, through, pairs) => {
    operator = through;
    const answer = await answered();
    await listOf(await answer.value<AsyncIterable<unknown>>());
    expect(pairsOf(answer)).toEqual(pairs);
  });

  it.each<[string, OperatorFunction<Any, Any>]>([
    ['several for one', mergeMap((i) => (i < 3 ? [i] : [i, i]))],
    ['one that comes later', mergeMap((i) => (i < 3 ? of(i) : Promise.resolve(i)))],
  ])('the stream fails at %s behind items that have positions', async (_name, through) => {
    const logged = vi.spyOn(Logger.prototype, 'error').mockReturnValue(undefined);
    operator = pipe(indices, through);
    const subject = new Subject<unknown>();
    source = subject;
    const answer = await answered();
    const items = listOf(await answer.value<AsyncIterable<unknown>>());
    for (const i of [1, 2, 3, 4]) subject.next(at(i, { i }));
    await expect(items).rejects.toMatchObject({ code: 'internal' });
    expect(pairsOf(answer)).toEqual([1, 2].map((i) => [i, i]));
    expect(subject.observed).toBe(false);
    expect(String(logged.mock.calls[0]?.[0])).toMatch(/^Watching\.watch, item .*An interceptor gave several items/);
    logged.mockRestore();
  });

  it('also if its function is not resumable', async () => {
    operator = pipe(indices, later);
    const { client } = await startStreams({ functions: Watching });
    const items = await resultOf<AsyncIterable<unknown>>(await client(), { name: 'once', args: [] });
    expect(await listOf(items)).toEqual([1, 2, 3, 4]);
  });
});
