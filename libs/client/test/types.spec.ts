import type { Readable } from 'node:stream';
import type { StreamableFile } from '@nestjs/common';
import type { createRemote, Remote, RemoteApi, Settled } from '@sealwire/client';
import type { Injected, RemoteFile } from '@sealwire/core';
import type { Observable } from 'rxjs';
import { describe, expectTypeOf, it } from 'vitest';

interface Receipt {
  readonly id: string;
  readonly cents: bigint;
}

declare class PaymentsController {
  private readonly repository: unknown;
  protected audit(): void;
  readonly title: string;
  balance(account: string): Promise<bigint>;
  transfer(order: { from: string; to: string; cents: bigint }, session: Injected<{ id: string }>): Promise<Receipt>;
  rate(currency?: string): number;
  statement(session: Injected<{ id: string }>, account: string, ...months: number[]): Promise<Receipt[]>;
  toJSON(): string;
  onModuleInit(): void;
}

type Api = RemoteApi<PaymentsController>;
declare const payments: Remote<Api>;

describe('RemoteApi', () => {
  it('holds the public methods, without reserved names', () => {
    expectTypeOf<keyof Api>().toEqualTypeOf<'balance' | 'transfer' | 'rate' | 'statement'>();
    expectTypeOf<RemoteApi<typeof PaymentsController>>().toEqualTypeOf<Api>();
  });

  it('awaits results and leaves injected parameters out', () => {
    expectTypeOf<Api['balance']>().toEqualTypeOf<(account: string) => Promise<bigint>>();
    expectTypeOf<Api['rate']>().returns.toEqualTypeOf<Promise<number>>();
    expectTypeOf<Parameters<Api['transfer']>>().toEqualTypeOf<[{ from: string; to: string; cents: bigint }]>();
    expectTypeOf<Parameters<Api['statement']>>().toEqualTypeOf<[string, ...number[]]>();
  });

  it('keeps optional parameters optional', () => {
    expectTypeOf<Api['rate']>().toBeCallableWith();
    expectTypeOf<Api['rate']>().toBeCallableWith('EUR');
  });
});

declare class Upload {
  readonly bytes: Buffer;
  private secret: string;
  constructor(bytes: Buffer);
  hash(): string;
  onDone?: () => void;
}

interface Tree {
  readonly name: string;
  readonly children: readonly Tree[];
}

declare class FilesController {
  /** injected in the middle, perhaps absent, optional */
  first(path: string, session: Injected<{ id: string }> | undefined, depth?: number): void;
  last(path?: string, session?: Injected<{ id: string }>): void;
  // biome-ignore lint/suspicious/noExplicitAny: a parameter without a type is not an injected one
  loose(value: any, other: unknown): any;
  read(path: string): Buffer;
  write(upload: Upload): Promise<Upload>;
  watch(): Observable<Receipt>;
  later(): Promise<Observable<number>>;
  callback(done: () => void, key: symbol): symbol;
  either(value: string | (() => void)): void;
  collections(
    map: Map<string, Buffer>,
    set: ReadonlySet<Upload>,
    at: Date,
    sum: bigint,
  ): [Map<number, Date>, Set<bigint>];
  money(): { toJSON(): { cents: number } };
  tree(): Tree;
  odd(): Promise<{ run: RegExp; failure: Error; words: Uint16Array; pending: Promise<number> }>;
}
type Files = RemoteApi<FilesController>;

describe('types that tell what travels', () => {
  /** A label shows only in the text of a type; whoever reads a signature sees it. */
  type Labels<F extends (...args: never[]) => unknown> = Parameters<F>;

  it('keeps the names of parameters, and leaves injected ones out wherever they stand', () => {
    expectTypeOf<Labels<Files['first']>>().toEqualTypeOf<[path: string, depth?: number]>();
    expectTypeOf<Labels<Files['last']>>().toEqualTypeOf<[path?: string]>();
    // biome-ignore lint/suspicious/noExplicitAny: as above
    expectTypeOf<Labels<Files['loose']>>().toEqualTypeOf<[value: any, other: unknown]>();
  });

  it('makes a Buffer a Uint8Array, and an Observable a stream of what it emits', () => {
    expectTypeOf<Files['read']>().returns.toEqualTypeOf<Promise<Uint8Array>>();
    expectTypeOf<Files['watch']>().returns.resolves.toEqualTypeOf<AsyncIterable<Receipt>>();
    expectTypeOf<Files['later']>().returns.toEqualTypeOf<Promise<AsyncIterable<number>>>();
  });

  it('drops methods and private members of entities', () => {
    expectTypeOf<Files['write']>().toEqualTypeOf<
      (upload: { readonly bytes: Uint8Array }) => Promise<{ readonly bytes: Uint8Array }>
    >();
    expectTypeOf<Files['tree']>().returns.resolves.toEqualTypeOf<Tree>();
    expectTypeOf<Files['money']>().returns.toEqualTypeOf<Promise<{ cents: number }>>();
  });

  it('makes never of what cannot be sent', () => {
    expectTypeOf<Files['callback']>().toEqualTypeOf<(done: never, key: never) => Promise<never>>();
    expectTypeOf<Parameters<Files['either']>>().toEqualTypeOf<[value: string]>();
    expectTypeOf<Files['odd']>().returns.resolves.toEqualTypeOf<{
      run: never;
      failure: never;
      words: never;
      pending: never;
    }>();
  });

  it('keeps Date, Map, Set and bigint', () => {
    expectTypeOf<Parameters<Files['collections']>>().toEqualTypeOf<
      [map: Map<string, Uint8Array>, set: Set<{ readonly bytes: Uint8Array }>, at: Date, sum: bigint]
    >();
    expectTypeOf<Files['collections']>().returns.toEqualTypeOf<Promise<[Map<number, Date>, Set<bigint>]>>();
  });
});

declare class StreamsController {
  rows(): AsyncGenerator<{ at: Date; hash(): string }, void, unknown>;
  list(): Promise<AsyncIterable<bigint>>;
  web(): ReadableStream<Uint8Array>;
  node(): Readable;
  streamable(): StreamableFile;
  blob(): Promise<Blob>;
  file(): File;
  report(): Promise<{
    name: string;
    content: Readable;
    parts: ReadonlyArray<{ rows: Observable<Buffer>; file?: File }>;
  }>;
  store(
    file: RemoteFile,
    signal: Injected<AbortSignal>,
    progress?: Injected<(value: unknown) => void>,
  ): Promise<number>;
  raw(bytes: ReadableStream<Uint8Array>): void;
  items(rows: AsyncIterable<{ cents: bigint }>): void;
  form(
    data: { title: string; files: RemoteFile[] },
    resume?: Injected<{ run: string; position: number } | undefined>,
  ): void;
}
type Streams = RemoteApi<StreamsController>;

describe('types of streams', () => {
  it('are AsyncIterable for items, ReadableStream for bytes and RemoteFile for files, nested too', () => {
    expectTypeOf<Streams['rows']>().returns.resolves.toEqualTypeOf<AsyncIterable<{ at: Date }>>();
    expectTypeOf<Streams['list']>().returns.resolves.toEqualTypeOf<AsyncIterable<bigint>>();
    expectTypeOf<Streams['web']>().returns.resolves.toEqualTypeOf<ReadableStream<Uint8Array>>();
    expectTypeOf<Streams['node']>().returns.resolves.toEqualTypeOf<ReadableStream<Uint8Array>>();
    expectTypeOf<Streams['streamable']>().returns.resolves.toEqualTypeOf<RemoteFile>();
    expectTypeOf<Streams['blob']>().returns.resolves.toEqualTypeOf<RemoteFile>();
    // with the types of a page a Blob takes no other
    expectTypeOf<RemoteFile['bytes']>().returns.resolves.toEqualTypeOf<Uint8Array<ArrayBuffer>>();
    expectTypeOf<Streams['file']>().returns.resolves.toEqualTypeOf<RemoteFile>();
    type Report = Awaited<ReturnType<Streams['report']>>;
    expectTypeOf<Report['content']>().toEqualTypeOf<ReadableStream<Uint8Array>>();
    expectTypeOf<Report['parts'][number]['rows']>().toEqualTypeOf<AsyncIterable<Uint8Array>>();
    expectTypeOf<Report['parts'][number]['file']>().toEqualTypeOf<RemoteFile | undefined>();
  });

  it('take what is sent as such, and leave out what the server injects', () => {
    expectTypeOf<Parameters<Streams['store']>>().toEqualTypeOf<[file: Blob | RemoteFile]>();
    expectTypeOf<Streams['store']>().toBeCallableWith(new File([], 'a'));
    expectTypeOf<Streams['raw']>().toBeCallableWith(new Blob([]).stream());
    expectTypeOf<Streams['raw']>().toBeCallableWith(process.stdin);
    expectTypeOf<Streams['form']>().toBeCallableWith({ title: 'a', files: [new File([], 'a')] });
    const rows = async function* () {
      yield { cents: 1n };
    };
    expectTypeOf<Streams['items']>().toBeCallableWith(rows());
    const others = async function* () {
      yield { cents: 'x' };
    };
    const send = (streams: Streams): unknown => [
      // @ts-expect-error a text is no file
      streams.store('text'),
      // @ts-expect-error items of another type
      streams.items(others()),
    ];
    expectTypeOf(send).toBeFunction();
  });

  it('stay in batches, whose entries are promises', () => {
    const remote = {} as Remote<Streams>;
    const run = () => remote.$batch((r) => [r.rows(), r.file()]);
    expectTypeOf(run).returns.resolves.toEqualTypeOf<[Settled<AsyncIterable<{ at: Date }>>, Settled<RemoteFile>]>();
    expectTypeOf<ReturnType<typeof run>['entries']>().toEqualTypeOf<
      [Promise<AsyncIterable<{ at: Date }>>, Promise<RemoteFile>]
    >();
  });
});

describe('Remote', () => {
  it('types the outcomes of a batch as a tuple', () => {
    const run = () => payments.$batch((r) => [r.balance('x'), r.transfer({ from: 'x', to: 'y', cents: 1n })]);
    expectTypeOf(run).returns.resolves.toEqualTypeOf<[Settled<bigint>, Settled<Receipt>]>();
    const list = () => payments.$batch((r) => ['x', 'y'].map((account) => r.balance(account)));
    expectTypeOf(list).returns.resolves.toEqualTypeOf<Settled<bigint>[]>();
  });

  it('types what onSession gets', () => {
    type Options = Parameters<typeof createRemote<Api>>[0];
    expectTypeOf<Parameters<NonNullable<Options['onSession']>>>().toEqualTypeOf<[Remote<Api>]>();
  });

  it('types events and calls with options', () => {
    expectTypeOf<ReturnType<typeof payments.$call>>().toEqualTypeOf<Api>();
    const listen = () => payments.$events.on('resumed', ({ lane }) => expectTypeOf(lane).toEqualTypeOf<number>());
    expectTypeOf(listen).returns.toEqualTypeOf<() => void>();
    // @ts-expect-error no such event
    (() => payments.$events.on('nothing', () => {})) satisfies unknown;
    // @ts-expect-error an account is a string
    (() => payments.balance(5)) satisfies unknown;
  });
});
