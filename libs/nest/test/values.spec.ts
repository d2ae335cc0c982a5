import 'reflect-metadata';
import {
  Body,
  ClassSerializerInterceptor,
  Controller,
  Get,
  type INestApplication,
  Injectable,
  Logger,
  Param,
  Post,
  Query,
  UseInterceptors,
  ValidationPipe,
  type ValidationPipeOptions,
} from '@nestjs/common';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import { LIMITS } from '@sealwire/core';
import { AsSent, RemoteFunction, RemoteFunctions, SealwireModule } from '@sealwire/nest';
import { Exclude, Transform, Type } from 'class-transformer';
import { Allow, IsInstance, IsOptional, ValidateNested } from 'class-validator';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { JSON_FORMAT } from '../src/http/index.js';
import { only, PeerClient, serverKey, serverKeyText, urlOf } from './support.js';

const bytesOf = (text: string) => Buffer.from(text);

describe('plain JSON', () => {
  it.each([
    '{"calls":[{"name":"save","args":[{"__proto__":{"admin":true}}]}]}',
    '{"calls":[{"name":"save","args":[[{"deep":{"__proto__":1}}]]}]}',
  ])('refuses a key __proto__, parsed here or before: %s', (text) => {
    expect(() => JSON_FORMAT.decode(bytesOf(text), undefined)).toThrow('The payload is malformed.');
    expect(() => JSON_FORMAT.decode(undefined, JSON.parse(text))).toThrow('The payload is malformed.');
  });

  const both = (text: string) => [
    () => JSON_FORMAT.decode(bytesOf(text), undefined),
    () => JSON_FORMAT.decode(undefined, JSON.parse(text)),
  ];
  const savedAs = (arg: string) => `{"calls": [{"name": "save", "args": [${arg}]}]}`;
  const nested = (levels: number) => savedAs(`${'['.repeat(levels)}"]\\"["${']'.repeat(levels)}`);
  // of a call: the object around, `calls`, the array, the call, its two names, `save`, the arguments
  const many = (items: number) =>
    savedAs(
      `[${Array(items - 9)
        .fill('1e3')
        .join(' , ')}]`,
    );

  it.each([
    ['levels', nested(LIMITS.cborDepth - 3), nested(LIMITS.cborDepth - 2)],
    ['items', many(LIMITS.payloadItems), many(LIMITS.payloadItems + 1)],
  ])('takes as many %s as a sealed call may have, and no more', (_, taken, refused) => {
    for (const decode of both(taken)) expect(decode()).toHaveLength(1);
    for (const decode of both(refused)) expect(decode).toThrow('The payload is malformed.');
  });

  it.each([
    ['arrays', '['.repeat(500_000)],
    ['texts that do not end', `{"calls":"${'\\"'.repeat(250_000)}`],
    ['gaps', ' '.repeat(1_000_000)],
    ['one name', `{"${'x'.repeat(1_000_000)}`],
  ])('refuses a million bytes of %s in linear time', (_, text) => {
    const started = performance.now();
    expect(() => JSON_FORMAT.decode(bytesOf(text), undefined)).toThrow('The payload is malformed.');
    expect(performance.now() - started).toBeLessThan(2_000);
  });

  it('refuses what a parser of the platform nested too deep to be written again', () => {
    const deep = JSON.parse(savedAs(`${'['.repeat(100_000)}${']'.repeat(100_000)}`));
    expect(() => JSON_FORMAT.decode(undefined, deep)).toThrow('The payload is malformed.');
  });

  it('fails a call alone whose result it cannot carry', () => {
    const log = vi.spyOn(Logger.prototype, 'error').mockReturnValue(undefined);
    onTestFinished(() => log.mockRestore());
    const value = new Map([[Object.create(null), 1]]);
    const text = JSON_FORMAT.encode([
      { ok: true, value },
      { ok: true, value: new Map<unknown, number>([[1n, 2]]) },
    ]);
    expect(JSON.parse(String(text))).toEqual({
      outcomes: [
        { ok: false, code: 'internal', message: 'Internal server error' },
        { ok: true, value: { 1: 2 } },
      ],
    });
    expect(log).toHaveBeenCalledOnce();
  });
});

@RemoteFunctions('payments')
@Controller('one')
class ByParam {
  @Get(':id')
  @RemoteFunction()
  get(@Param('id') id: string): string {
    return id;
  }
}

@RemoteFunctions('payments')
@Controller('many')
class ByQuery {
  @Get()
  @RemoteFunction()
  list(_first: string, @Query() query: unknown): unknown {
    return query;
  }
}

@RemoteFunctions('payments')
@Controller('some')
class ByField {
  @Post()
  @RemoteFunction()
  send(@Body('to') to: string): string {
    return to;
  }
}

@RemoteFunctions('payments')
@Injectable()
class Rest {
  @RemoteFunction()
  sum({ first } = { first: [0] }, ...others: number[]): number {
    return others.length + first.length;
  }
}

@RemoteFunctions('payments')
@Injectable()
class Spread {
  @RemoteFunction()
  sum(numbers = [...[1, 2]], text = ')...'): unknown {
    return [...numbers, text];
  }
}

async function start(host: new () => object): Promise<void> {
  const module = await Test.createTestingModule({
    imports: [SealwireModule.forRoot({ serverKey: serverKeyText }), SealwireModule.forFeature({ path: 'payments' })],
    providers: [host],
  }).compile();
  const app = module.createNestApplication({ logger: false });
  onTestFinished(() => app.close());
  await app.init();
}

describe('start-up', () => {
  it.each([
    [ByParam, "Parameter 1 of ByParam.get has @Param('id'), which a remote call cannot fill"],
    [ByQuery, 'Parameter 2 of ByQuery.list has @Query(), which a remote call cannot fill'],
    [ByField, "Parameter 1 of ByField.send has @Body('to'), which a remote call cannot fill"],
    [Rest, 'Rest.sum has a rest parameter; take an array instead.'],
  ])('refuses a parameter that a call cannot fill: %o', async (host, sentence) => {
    await expect(start(host)).rejects.toThrow(sentence);
  });

  it('takes spreads and defaults', () => start(Spread));
});

class Item {
  @Allow()
  bytes!: Uint8Array;

  @IsOptional()
  @IsInstance(Map)
  @AsSent()
  map?: Map<unknown, unknown>;
}

class Dto {
  @IsOptional()
  @IsInstance(Uint8Array)
  bytes?: Uint8Array;

  @IsOptional()
  @IsInstance(Map)
  @AsSent()
  map?: Map<unknown, unknown>;

  @IsOptional()
  @IsInstance(Set)
  @AsSent()
  set?: Set<unknown>;

  @Allow()
  date?: Date;

  @Allow()
  big?: bigint;

  @Allow()
  any?: unknown;

  @Allow()
  tags?: string[];

  @IsOptional()
  @Transform(({ value }) => [...value.keys()], { toClassOnly: true })
  keys?: unknown;

  @IsOptional()
  @ValidateNested({ each: true })
  @Type(() => Item)
  items?: Item[];
}

class Holder {
  @Exclude()
  password = 'secret';
  tags: unknown;

  constructor(tags: unknown) {
    this.tags = tags;
  }
}

@RemoteFunctions('values')
@UseInterceptors(ClassSerializerInterceptor)
@Injectable()
class Values {
  @RemoteFunction()
  bytes(value: Uint8Array): unknown {
    return [value instanceof Uint8Array, value];
  }
  @RemoteFunction()
  map(value: Map<unknown, unknown>): unknown {
    return [value instanceof Map, value];
  }
  @RemoteFunction()
  set(value: Set<unknown>): unknown {
    return [value instanceof Set, value];
  }
  @RemoteFunction()
  big(value: bigint): unknown {
    return [typeof value === 'bigint', value];
  }
  @RemoteFunction()
  date(value: Date): unknown {
    return [value instanceof Date, value];
  }
  @RemoteFunction()
  field(dto: Dto): unknown {
    return [dto instanceof Dto, { ...dto }];
  }
  @RemoteFunction()
  whole(value: unknown): unknown {
    return value;
  }
  @RemoteFunction()
  holder(): unknown {
    const inner = new Holder(new Set([1]));
    return new Holder(
      new Map<unknown, unknown>([
        ['in', inner],
        ['bytes', Uint8Array.of(1)],
        ['set', new Set([inner])],
      ]),
    );
  }
}

const VALUES: [string, unknown][] = [
  ['bytes', Uint8Array.of(1, 2, 3)],
  ['bytes', new Uint8Array(0)],
  [
    'map',
    new Map<unknown, unknown>([
      ['a', { b: 1n }],
      [2, new Set(['x'])],
    ]),
  ],
  ['set', new Set<unknown>(['a', 2n, Uint8Array.of(9)])],
  ['big', 2n ** 70n],
  ['date', new Date(5)],
];

const PIPES: [string, ValidationPipeOptions | undefined][] = [
  ['no pipe', undefined],
  ['whitelist alone', { whitelist: true }],
  ['transform', { transform: true }],
  ['transform and whitelist', { transform: true, whitelist: true, forbidNonWhitelisted: true }],
  ['implicit conversion', { transform: true, whitelist: true, transformOptions: { enableImplicitConversion: true } }],
];

async function valuesOf(pipe: ValidationPipeOptions | undefined, fastify: boolean) {
  const module = await Test.createTestingModule({
    imports: [
      SealwireModule.forRoot({ serverKey: serverKeyText }),
      SealwireModule.forFeature({ path: 'values', encryptionKey: 16 }),
    ],
    providers: [Values],
  }).compile();
  const app: INestApplication = fastify
    ? module.createNestApplication(new FastifyAdapter() as never)
    : module.createNestApplication();
  app.useLogger(false);
  if (pipe) app.useGlobalPipes(new ValidationPipe(pipe));
  await app.listen(0, '127.0.0.1');
  onTestFinished(() => app.close());
  const url = urlOf(app, '/remote/values');
  const client = new PeerClient(url, { modulePath: 'values', keySize: 16, serverKey: serverKey.publicKey });
  await client.connect();
  return async (name: string, ...args: unknown[]) => only(await client.call(name, ...args));
}

/** Bytes come decoded as a view or as a Buffer; both are the same bytes. */
describe.each(PIPES)('values under %s', (_name, pipe) => {
  it.each([
    ['Express', false],
    ['Fastify', true],
  ])('arrive and return as sent on %s', async (_platform, fastify) => {
    const call = await valuesOf(pipe, fastify);
    for (const [type, value] of VALUES) {
      expect(await call(type, value)).toEqual([true, value]);
      expect(await call('whole', value)).toEqual(value);
      expect(await call('field', { [type]: value })).toEqual([
        pipe?.transform === true,
        expect.objectContaining({ [type]: value }),
      ]);
    }
    const items = [{ bytes: Uint8Array.of(7), map: new Map([['a', 1n]]) }];
    expect(await call('field', { items })).toMatchObject([pipe?.transform === true, { items }]);
    expect(await call('holder')).toEqual({
      tags: new Map<unknown, unknown>([
        ['in', { tags: new Set([1]) }],
        ['bytes', Uint8Array.of(1)],
        ['set', new Set([{ tags: new Set([1]) }])],
      ]),
    });
  });
});

describe('what a pipe would destroy', () => {
  it.each([true, false])('fails the call in a field whose type says nothing, transform: %s', async (transform) => {
    const call = await valuesOf({ transform, whitelist: true }, false);
    expect(await call('field', { any: new Map([['a', 1]]) })).toMatchObject({ code: 'internal' });
    expect(await call('field', { any: { deep: new Set([1]) } })).toMatchObject({ code: 'internal' });
    expect(await call('field', new Set([{}]))).toMatchObject({ code: 'bad_request' });
  });

  it.each([true, false])('is what the application made of it, transform: %s', async (transform) => {
    const call = await valuesOf({ transform, whitelist: true }, false);
    const sent = { tags: new Set(['a']), keys: new Map([['k', 1]]) };
    expect(await call('field', sent)).toMatchObject([transform, { tags: ['a'], keys: ['k'] }]);
  });

  it('is refused at start, by the name of the field', async () => {
    class Line {
      @IsInstance(Set)
      tags!: Set<string>;
    }
    class Order {
      @ValidateNested({ each: true })
      @Type(() => Line)
      lines!: Line[];
    }
    @RemoteFunctions('payments')
    @Injectable()
    class Orders {
      @RemoteFunction()
      place(order: Order): unknown {
        return order;
      }
    }
    await expect(start(Orders)).rejects.toThrow(
      'Line.tags, a Set that Orders.place takes, would be destroyed by class-transformer; decorate it with @AsSent().',
    );
  });
});
