import 'reflect-metadata';
import { Body, Controller, Get, Injectable, Logger, Param, Post, Query } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { RemoteFunction, RemoteFunctions, SealwireModule } from '@sealwire/nest';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { JSON_FORMAT } from '../src/http/plain-calls.js';
import { serverKeyText } from './support.js';

const bytesOf = (text: string) => Buffer.from(text);

describe('plain JSON', () => {
  it.each([
    '{"calls":[{"name":"save","args":[{"__proto__":{"admin":true}}]}]}',
    '{"calls":[{"name":"save","args":[[{"deep":{"__proto__":1}}]]}]}',
  ])('refuses a key __proto__, parsed here or before: %s', (text) => {
    expect(() => JSON_FORMAT.decode(bytesOf(text), undefined)).toThrow('The payload is malformed.');
    expect(() => JSON_FORMAT.decode(undefined, JSON.parse(text))).toThrow('The payload is malformed.');
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
