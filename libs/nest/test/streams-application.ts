import { Readable } from 'node:stream';
import {
  type CallHandler,
  ConflictException,
  type ExecutionContext,
  type INestApplication,
  Injectable,
  Module,
  type NestInterceptor,
  type Provider,
  StreamableFile,
  type Type,
  UseInterceptors,
  ValidationPipe,
} from '@nestjs/common';
import { Test } from '@nestjs/testing';
import {
  type RemoteFile,
  RemoteFunction,
  RemoteFunctionError,
  RemoteFunctions,
  remoteFile,
  SealwireModule,
  type SealwireModuleOptions,
  type SealwireOptions,
  type SealwireStore,
} from '@sealwire/nest';
import { concatMap, from, map, NEVER, type Observable, of, Subject, timer } from 'rxjs';
import { onTestFinished } from 'vitest';
import { PeerClient, serverKey, serverKeyText, urlOf } from './support.js';

/** What generators did, for whoever asks. */
@Injectable()
export class Watch {
  yielded = 0;
  closed = 0;
  readonly subject = new Subject<number>();
  unsubscribed = 0;
}

@Injectable()
class Doubling implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(map((value) => (typeof value === 'number' ? value * 2 : value)));
  }
}

/** Waits until it may go on. */
@RemoteFunctions('live')
@Injectable()
export class Slow {
  begun = 0;
  go: () => void = () => undefined;
  readonly gate = new Promise<void>((resolve) => {
    this.go = resolve;
  });

  @RemoteFunction()
  async wait(): Promise<string> {
    this.begun += 1;
    await this.gate;
    return 'done';
  }
}

const MiB = new Uint8Array(65_536).fill(7);

@RemoteFunctions('live')
@Injectable()
export class Down {
  constructor(private readonly watch: Watch) {}

  @RemoteFunction()
  plain(value: unknown): unknown {
    return value;
  }

  @RemoteFunction()
  async *count(to: number): AsyncGenerator<number> {
    try {
      for (let i = 0; i < to; i++) {
        this.watch.yielded += 1;
        yield i;
      }
    } finally {
      this.watch.closed += 1;
    }
  }

  /** Items of a KiB, without an end. */
  @RemoteFunction()
  async *endless(): AsyncGenerator<Uint8Array> {
    try {
      for (;;) {
        this.watch.yielded += 1;
        yield MiB.subarray(0, 1_024);
      }
    } finally {
      this.watch.closed += 1;
    }
  }

  /** Cannot be closed in peace. */
  @RemoteFunction()
  async *spoiled(): AsyncGenerator<number> {
    try {
      for (;;) yield await new Promise<number>((resolve) => setTimeout(resolve, 5, 1));
    } finally {
      // biome-ignore lint/correctness/noUnsafeFinally: what a mistaken application does
      throw new Error('The file is locked.');
    }
  }

  @RemoteFunction()
  async *failing(kind: string): AsyncGenerator<number> {
    yield 1;
    yield 2;
    if (kind === 'typed') throw new RemoteFunctionError('dry', 'No more.', { at: 2n });
    if (kind === 'http') throw new ConflictException('taken');
    throw new Error('secret');
  }

  @RemoteFunction()
  observable(): Observable<number> {
    return from([1, 2, 3]);
  }

  @RemoteFunction()
  @UseInterceptors(Doubling)
  intercepted(): Observable<number> {
    return from([1, 2, 3]);
  }

  @RemoteFunction()
  @UseInterceptors(Doubling)
  one(): Promise<number> {
    return Promise.resolve(4);
  }

  @RemoteFunction()
  @UseInterceptors(Doubling)
  silent(): Observable<number> {
    return NEVER;
  }

  @RemoteFunction()
  subject(): Observable<number> {
    return this.watch.subject;
  }

  @RemoteFunction()
  late(milliseconds: number): Observable<string> {
    return timer(milliseconds).pipe(concatMap(() => of('late')));
  }

  @RemoteFunction()
  web(): ReadableStream<Uint8Array> {
    return new Blob([MiB, MiB, MiB]).stream() as ReadableStream<Uint8Array>;
  }

  @RemoteFunction()
  readable(): Readable {
    return Readable.from([Buffer.from('one '), Buffer.from('two')], { objectMode: false });
  }

  @RemoteFunction()
  streamable(): StreamableFile {
    const disposition = `attachment; filename="plan \\"b\\".txt"; filename*=UTF-8''pl%C3%A4n.txt`;
    return new StreamableFile(Buffer.from('a file'), { type: 'text/plain', disposition });
  }

  @RemoteFunction()
  blob(): Blob {
    return new Blob(['a blob'], { type: 'text/plain' });
  }

  @RemoteFunction()
  holding(): unknown {
    const items = (async function* () {
      yield 'a';
      yield { b: 2n };
    })();
    const file = remoteFile(Readable.from([Buffer.from('xy')]), { name: 'x.bin', type: 'a/b', size: 2 });
    return { name: 'both', size: 2, list: [items, file], when: new Date(0) };
  }

  @RemoteFunction()
  misnamed(name: string, size: number): RemoteFile {
    return remoteFile(Readable.from([Buffer.from('abc')]), { name, type: '', size });
  }

  @RemoteFunction()
  unfit(): unknown {
    const items = this.count(1);
    return [items, () => 1];
  }

  @RemoteFunction()
  async after(milliseconds: number, value: unknown): Promise<unknown> {
    await new Promise((resolve) => setTimeout(resolve, milliseconds));
    return value;
  }
}

export interface Started {
  readonly app: INestApplication;
  readonly watch: Watch;
  client(): Promise<PeerClient>;
}

export interface StartOptions {
  readonly functions?: Type | readonly Type[];
  readonly options?: SealwireOptions & { store?: SealwireStore };
  readonly live?: Partial<SealwireModuleOptions>;
  readonly providers?: Provider[];
  readonly imports?: Type[];
  /** nothing stands before the functions */
  readonly bare?: boolean;
  readonly create?: (
    module: Awaited<ReturnType<ReturnType<typeof Test.createTestingModule>['compile']>>,
  ) => INestApplication;
  readonly prepare?: (app: INestApplication) => void;
}

@Module({ providers: [Watch], exports: [Watch] })
class WatchModule {}

export async function startStreams(start: StartOptions = {}): Promise<Started> {
  const testing = await Test.createTestingModule({
    imports: [
      WatchModule,
      ...(start.imports ?? []),
      SealwireModule.forRoot({
        serverKey: serverKeyText,
        handshakeRate: false,
        handshakeRateTotal: false,
        ...start.options,
      }),
      SealwireModule.forFeature({ path: 'live', ...start.live }),
    ],
    providers: [...[start.functions ?? Down].flat(), ...(start.providers ?? [])] as Provider[],
  }).compile();
  const app = start.create?.(testing) ?? testing.createNestApplication();
  app.useLogger(false);
  if (!start.bare) app.useGlobalPipes(new ValidationPipe({ transform: true, whitelist: true }));
  start.prepare?.(app);
  await app.listen(0, '127.0.0.1');
  onTestFinished(async () => {
    await app.close();
  });
  return {
    app,
    watch: app.get(Watch),
    async client() {
      const url = urlOf(app, '/remote/live');
      const client = new PeerClient(url, { modulePath: 'live', keySize: 32, serverKey: serverKey.publicKey });
      await client.connect();
      return client;
    },
  };
}
