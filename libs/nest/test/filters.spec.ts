import 'reflect-metadata';
import {
  type ArgumentsHost,
  type CanActivate,
  Catch,
  ConflictException,
  type ExceptionFilter,
  HttpException,
  type INestApplication,
  Injectable,
  InternalServerErrorException,
  Res,
  ServiceUnavailableException,
  UseFilters,
  UseGuards,
} from '@nestjs/common';
import { APP_FILTER, BaseExceptionFilter, HttpAdapterHost } from '@nestjs/core';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import {
  ExactlyOnce,
  type Injected,
  KeyStore,
  RemoteFunction,
  RemoteFunctionError,
  RemoteFunctions,
  SealwireModule,
  SessionData,
  SessionDirectory,
  SessionStore,
} from '@sealwire/nest';
import { of } from 'rxjs';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { MemoryKeyStore, MemoryStore } from '../src/sessions/index.js';
import { only, PeerClient, serverKey, serverKeyText, urlOf } from './support.js';

const seen: unknown[] = [];

/** What a filter that only observes may answer. */
const ANSWERS: Record<string, (host: ArgumentsHost) => unknown> = {
  nothing: () => undefined,
  null: () => null,
  'a promise of nothing': async () => undefined,
  'a stream': () => of('for another transport'),
  'the error': () => new Error('for another transport'),
  'a response that it did not send': (host) => host.switchToHttp().getResponse(),
};

let answering: (host: ArgumentsHost) => unknown = () => undefined;

@Catch()
class Observer implements ExceptionFilter {
  catch(error: unknown, host: ArgumentsHost): unknown {
    seen.push(error);
    return answering(host);
  }
}

/** As those of error trackers are made. */
@Catch()
class Tracker extends BaseExceptionFilter {
  override catch(error: unknown, host: ArgumentsHost): void {
    seen.push(error);
    super.catch(error, host);
  }
}

/** Says what was thrown to whoever asks, as many applications do on their routes. */
@Catch()
class Talkative implements ExceptionFilter {
  catch(error: Error, host: ArgumentsHost): void {
    const status = error instanceof HttpException ? error.getStatus() : 500;
    host.switchToHttp().getResponse().status(status).send({ statusCode: status, message: error.message });
  }
}

/** Forgets the status. */
@Catch()
class Terse implements ExceptionFilter {
  catch(error: Error, host: ArgumentsHost): void {
    host.switchToHttp().getResponse().send({ message: error.name });
  }
}

@Catch()
class Forgiving implements ExceptionFilter {
  catch(_error: Error, host: ArgumentsHost): void {
    host.switchToHttp().getResponse().status(200).send('never mind');
  }
}

@Catch()
class Broken implements ExceptionFilter {
  catch(): void {
    throw new Error('the filter is broken');
  }
}

@Injectable()
class Closed implements CanActivate {
  canActivate(): boolean {
    return false;
  }
}

// biome-ignore lint/suspicious/noExplicitAny: of either platform
type Any = any;

@RemoteFunctions('functions')
@Injectable()
class Functions {
  @RemoteFunction()
  typed(): never {
    throw new RemoteFunctionError('funds_short', 'Not enough money.', { missing: 5n });
  }

  @RemoteFunction()
  conflict(): never {
    throw new ConflictException('taken');
  }

  @RemoteFunction()
  @UseGuards(Closed)
  closed(): string {
    return 'never';
  }

  @RemoteFunction()
  crash(): never {
    throw new Error('secret');
  }

  @RemoteFunction()
  declared(): never {
    throw new InternalServerErrorException({ code: 'declared', message: 'secret' });
  }

  @RemoteFunction()
  busy(): never {
    throw new ServiceUnavailableException('later');
  }

  @RemoteFunction()
  @UseFilters(Talkative)
  talkative(): never {
    throw new Error('secret');
  }

  @RemoteFunction()
  @UseFilters(Terse)
  @UseGuards(Closed)
  terse(): string {
    return 'never';
  }

  @RemoteFunction()
  @UseFilters(Terse)
  terseCrash(): never {
    throw new Error('secret');
  }

  @RemoteFunction()
  @UseFilters(Forgiving)
  forgiven(typed: boolean): never {
    if (typed) return this.typed();
    throw new Error('secret');
  }

  @RemoteFunction()
  @UseFilters(Broken)
  broken(): never {
    return this.typed();
  }

  @RemoteFunction()
  wrote(@Res() response: Injected<Any>): never {
    response.status(200).send('done');
    throw new ConflictException('or not');
  }

  @RemoteFunction({ exactlyOnce: true })
  @UseFilters(Forgiving)
  once(): never {
    throw new Error('half done');
  }
}

const rollbacks: boolean[] = [];

class FakeExactlyOnce extends ExactlyOnce {
  async run(...[, work]: Parameters<ExactlyOnce['run']>): Promise<Uint8Array> {
    const { outcome, rollback } = await work({});
    rollbacks.push(rollback);
    return outcome;
  }
}

const store = {
  providers: [
    { provide: SessionStore, useClass: MemoryStore },
    { provide: SessionDirectory, useExisting: SessionStore },
    { provide: SessionData, useExisting: SessionStore },
    { provide: KeyStore, useClass: MemoryKeyStore },
    { provide: ExactlyOnce, useClass: FakeExactlyOnce },
  ],
};

type Filters = 'none' | 'observer' | 'tracker' | 'tracker by hand';

async function start(fastify: boolean, filters: Filters) {
  const useClass = filters === 'observer' ? Observer : Tracker;
  const module = await Test.createTestingModule({
    imports: [
      SealwireModule.forRoot({ serverKey: serverKeyText, handshakeRate: false, store }),
      SealwireModule.forFeature({ path: 'functions' }),
    ],
    providers: [
      Functions,
      ...(filters === 'observer' || filters === 'tracker' ? [{ provide: APP_FILTER, useClass }] : []),
    ],
  }).compile();
  const app: INestApplication = fastify
    ? module.createNestApplication(new FastifyAdapter())
    : module.createNestApplication();
  app.useLogger(false);
  if (filters === 'tracker by hand') app.useGlobalFilters(new Tracker(app.get(HttpAdapterHost).httpAdapter));
  await app.listen(0, '127.0.0.1');
  const url = urlOf(app, '/remote/functions');
  const client = new PeerClient(url, { modulePath: 'functions', keySize: 32, serverKey: serverKey.publicKey });
  await client.connect();
  return { app, call: async (name: string, ...args: unknown[]) => only(await client.call(name, ...args)) };
}

const TYPED = { ok: false, code: 'funds_short', message: 'Not enough money.', details: { missing: 5n } };
const INTERNAL = { ok: false, code: 'internal', message: 'Internal server error' };
const PLATFORMS = [
  ['Express', false],
  ['Fastify', true],
] as const;

describe.each(PLATFORMS)('on %s', (_platform, fastify) => {
  describe.each(['none', 'observer', 'tracker', 'tracker by hand'] as const)('global filter: %s', (filters) => {
    let app: INestApplication;
    let call: (name: string, ...args: unknown[]) => Promise<unknown>;

    beforeAll(async () => {
      ({ app, call } = await start(fastify, filters));
    });
    afterAll(() => app.close());
    beforeEach(() => {
      seen.length = 0;
      answering = () => undefined;
    });

    it('every refusal reaches the caller as what it is', async () => {
      expect(await call('typed')).toEqual(TYPED);
      expect(await call('conflict')).toMatchObject({ ok: false, code: 'conflict', message: 'taken' });
      expect(await call('closed')).toMatchObject({ ok: false, code: 'forbidden', details: { status: 403 } });
      expect(await call('crash')).toEqual(INTERNAL);
      expect(await call('declared')).toEqual(INTERNAL);
      expect(await call('busy')).toMatchObject({ code: 'service_unavailable', message: 'later' });
      expect(seen).toHaveLength(filters === 'none' ? 0 : 6);
    });

    it('what was written before an error does not count', async () => {
      expect(await call('wrote')).toMatchObject({ ok: false, code: 'conflict', message: 'or not' });
    });

    if (filters === 'observer') {
      it.each(Object.keys(ANSWERS))('a filter that answers %s answered nothing', async (name) => {
        answering = ANSWERS[name] as never;
        expect(await call('typed')).toEqual(TYPED);
        expect(await call('closed')).toMatchObject({ ok: false, code: 'forbidden' });
        expect(await call('crash')).toEqual(INTERNAL);
        expect(seen).toHaveLength(3);
      });
    }
  });

  describe('filters of a function', () => {
    let app: INestApplication;
    let call: (name: string, ...args: unknown[]) => Promise<unknown>;

    beforeAll(async () => {
      ({ app, call } = await start(fastify, 'none'));
    });
    afterAll(() => app.close());

    it('cannot say more of 500 than that', async () => {
      expect(await call('talkative')).toEqual(INTERNAL);
    });

    it('answer with the status of the error if they name none', async () => {
      expect(await call('terse')).toMatchObject({ ok: false, code: 'forbidden', message: 'ForbiddenException' });
      expect(await call('terseCrash')).toEqual(INTERNAL);
    });

    it('may turn an error into a success, but no RemoteFunctionError', async () => {
      expect(await call('forgiven', false)).toBe('never mind');
      expect(await call('forgiven', true)).toEqual(TYPED);
    });

    it('may fail without a loss', async () => {
      expect(await call('broken')).toEqual(TYPED);
    });

    it('do not commit what a function left half done', async () => {
      rollbacks.length = 0;
      expect(await call('once')).toBe('never mind');
      expect(rollbacks).toEqual([true]);
    });
  });
});
