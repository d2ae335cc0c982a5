import 'reflect-metadata';
import { ValidationPipe } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { RemoteFunction, RemoteFunctions, SealwireModule } from '@sealwire/nest';
import { Type } from 'class-transformer';
import { IsOptional, IsString, ValidateNested } from 'class-validator';
import { describe, expect, it, onTestFinished } from 'vitest';
import { only, PeerClient, serverKey, serverKeyText, urlOf } from './support.js';

class Account {
  @IsString()
  name!: string;
}

class Filter {
  @IsOptional()
  @IsString()
  id?: string;

  @IsOptional()
  @ValidateNested()
  @Type(() => Account)
  account?: Account;

  @IsOptional()
  @ValidateNested({ each: true })
  @Type(() => Account)
  accounts?: Account[];
}

@RemoteFunctions('payments')
class Functions {
  @RemoteFunction()
  remove(filter: Filter): unknown {
    return filter;
  }
}

describe.each([{ transform: true }, { transform: true, whitelist: true }, {}])('ValidationPipe %o', (options) => {
  it.each<[string, unknown]>([
    ['a Map', new Map([['id', 'x']])],
    ['a Date', new Date()],
    ['a Date in a field', { account: new Date() }],
    ['a Date in a list', { accounts: [{ name: 'a' }, new Date()] }],
  ])('takes no %s in place of an object', async (_, value) => {
    const module = await Test.createTestingModule({
      imports: [SealwireModule.forRoot({ serverKey: serverKeyText }), SealwireModule.forFeature({ path: 'payments' })],
      providers: [Functions],
    }).compile();
    const app = module.createNestApplication({ logger: false });
    onTestFinished(() => app.close());
    app.useGlobalPipes(new ValidationPipe(options));
    await app.listen(0, '127.0.0.1');
    const client = new PeerClient(urlOf(app), {
      modulePath: 'payments',
      keySize: 32,
      serverKey: serverKey.publicKey,
      secureKey: undefined,
    });
    await client.connect();
    expect(only(await client.call('remove', { account: { name: 'a' }, accounts: [{ name: 'b' }] }))).toMatchObject({
      account: { name: 'a' },
    });
    expect(only(await client.call('remove', value))).toMatchObject({ ok: false, code: 'bad_request' });
  });
});
