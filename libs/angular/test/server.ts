import 'reflect-metadata';
import { Blob } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Controller, type INestApplication } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { remoteModule } from '@sealwire/angular';
import { CONTENT_TYPE, formatKeyText, frameType, generateKeyText, parseServerPrivateKey } from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import {
  at,
  type Injected,
  type Progress,
  type RemoteFile,
  RemoteFunction,
  RemoteFunctionError,
  RemoteFunctions,
  RemoteProgress,
  RemoteResume,
  type Resume,
  SealwireModule,
} from '@sealwire/nest';
import { firstValueFrom, map, type Observable, Subject } from 'rxjs';
import { onTestFinished } from 'vitest';

const privateKey = generateKeyText('sws1', nodePrimitives);
export const serverKey = formatKeyText('swp1', parseServerPrivateKey(privateKey, nodePrimitives).publicKey);
export const secureKeys = [generateKeyText('swk1', nodePrimitives), generateKeyText('swk1', nodePrimitives)] as const;

@RemoteFunctions('payments')
@Controller()
export class PaymentsController {
  runs = 0;
  readonly #balances = new Map([
    ['a', 100n],
    ['b', 7n],
  ]);

  @RemoteFunction()
  balance({ account }: { readonly account: string }): bigint {
    this.runs++;
    return this.#balances.get(account) ?? 0n;
  }

  @RemoteFunction()
  transfer(from: string, to: string, amount: bigint): { readonly receipt: string; readonly at: Date } {
    this.runs++;
    const balance = this.#balances.get(from) ?? 0n;
    if (balance < amount) throw new RemoteFunctionError('insufficient_funds', 'Not enough money.', { balance });
    this.#balances.set(from, balance - amount);
    this.#balances.set(to, (this.#balances.get(to) ?? 0n) + amount);
    return { receipt: `${from}-${to}`, at: new Date(0) };
  }

  @RemoteFunction()
  async *lines(to: number): AsyncGenerator<number> {
    for (let i = 1; i <= to; i++) yield i;
  }

  @RemoteFunction()
  echo(bytes: Uint8Array): Uint8Array {
    return bytes;
  }
}

@RemoteFunctions('public')
@Controller()
export class PublicController {
  @RemoteFunction()
  rate(currency: string): string {
    if (currency === '') throw new RemoteFunctionError('no_currency', 'Name a currency.');
    return `${currency} 2`;
  }

  @RemoteFunction()
  everything() {
    const at = new Date(1_700_000_000_000);
    return {
      amount: 2n ** 70n,
      at,
      map: new Map([[1, at]]),
      set: new Set(['a']),
      bytes: Uint8Array.of(0, 255),
      no: undefined,
    };
  }

  @RemoteFunction()
  nothing(): void {}

  @RemoteFunction()
  report(kind: 'file' | 'bytes' | 'items'): { readonly content: unknown } {
    const blob = new Blob(['a;b']);
    return {
      content:
        kind === 'file'
          ? blob
          : kind === 'bytes'
            ? blob.stream()
            : (async function* () {
                yield 1;
              })(),
    };
  }
}

@RemoteFunctions('rates')
@Controller()
export class RatesController {
  /** what `watch` has still to tell, and whether anybody listens */
  readonly news = new Subject<number>();

  @RemoteFunction()
  watch(currency: string): Observable<string> {
    return this.news.pipe(map((rate) => `${currency} ${rate}`));
  }

  /** begins when somebody lets it */
  readonly gate = new Subject<void>();

  @RemoteFunction()
  async later(): Promise<Observable<string>> {
    await firstValueFrom(this.gate);
    return this.watch('USD');
  }

  @RemoteFunction()
  refused(): Observable<string> {
    throw new RemoteFunctionError('refused', 'Not today.');
  }

  @RemoteFunction({ resumable: true })
  async *count(to: number, @RemoteResume() resume: Injected<Resume | undefined>): AsyncGenerator<number> {
    for (let i = Number(resume?.position ?? 0) + 1; i <= to; i++) yield at(i, i);
  }

  @RemoteFunction()
  size(bytes: Uint8Array): number {
    return bytes.length;
  }

  @RemoteFunction()
  review(@RemoteProgress() progress: Injected<Progress>): Promise<string> {
    progress('begun');
    return firstValueFrom(this.watch('EUR'));
  }

  @RemoteFunction()
  async measure(file: RemoteFile, @RemoteProgress() progress: Injected<Progress>): Promise<string> {
    const { length } = await file.bytes();
    progress('read');
    return `${file.name} ${length}`;
  }
}

export const Rates = remoteModule<RatesController>('rates');
export const Payments = remoteModule<PaymentsController>('payments');
export const Public = remoteModule<PublicController>('public');

export interface Seen {
  readonly url: string | undefined;
  readonly kind: ReturnType<typeof kindOf>;
  readonly headers: IncomingMessage['headers'];
}

/** undefined for what an interceptor made of a frame */
function kindOf(bytes: Uint8Array) {
  try {
    return frameType(bytes);
  } catch {
    return undefined;
  }
}

/** A real server on a free port, which remembers the frames that came. */
export async function openServer() {
  const testing = await Test.createTestingModule({
    imports: [
      SealwireModule.forRoot({ serverKey: privateKey, handshakeRate: false, handshakeRateTotal: false }),
      SealwireModule.forFeature({ path: 'payments', secureKeys: [...secureKeys], requireSecureKey: true }),
      SealwireModule.forFeature({ path: 'public' }),
      SealwireModule.forFeature({ path: 'rates' }),
    ],
    controllers: [PaymentsController, PublicController, RatesController],
  }).compile();
  const app: INestApplication = testing.createNestApplication();
  app.useLogger(false);
  app.enableCors({ origin: true, credentials: true, exposedHeaders: ['retry-after'] });
  const seen: Seen[] = [];
  app.use((request: IncomingMessage, _response: unknown, next: () => void) => {
    if (request.headers['content-type'] !== CONTENT_TYPE) return next();
    const push = request.push.bind(request);
    request.push = (chunk: Buffer | null, encoding) => {
      request.push = push;
      if (chunk) seen.push({ url: request.url, kind: kindOf(chunk), headers: request.headers });
      return push(chunk, encoding);
    };
    next();
  });
  await app.listen(0, '127.0.0.1');
  const { port } = app.getHttpServer().address() as AddressInfo;
  return {
    app,
    url: `http://127.0.0.1:${port}/remote`,
    payments: testing.get(PaymentsController),
    rates: testing.get(RatesController),
    seen,
    kinds: () => seen.map(({ kind }) => kind),
  };
}

/** The same, which ends with the test. */
export async function startServer() {
  const server = await openServer();
  onTestFinished(async () => {
    const closing = server.app.close();
    // a fetch of Node 24 that is aborted at once leaves a connection without a request, for which a server waits a minute
    server.app.getHttpServer().closeAllConnections();
    await closing;
  });
  return server;
}
