import 'reflect-metadata';
import { Test } from '@nestjs/testing';
import { RemoteFunction, RemoteFunctionError, RemoteFunctions, SealwireModule } from '@sealwire/nest';
import { expect, it, onTestFinished } from 'vitest';
import { only, PeerClient, serverKey, serverKeyText, urlOf } from './support.js';

/** As typeorm-transactional, nestjs-cls, a cache or a tracer wrap a method. */
function Wrapped(): MethodDecorator {
  return (_type, _name, descriptor) => {
    const original = descriptor.value as (...args: unknown[]) => unknown;
    descriptor.value = async function (this: unknown, ...args: unknown[]) {
      return original.apply(this, args);
    } as never;
  };
}

@RemoteFunctions('payments')
class Functions {
  @RemoteFunction()
  @Wrapped()
  pay(to: string, amount: number): string {
    return `${to} gets ${amount}`;
  }

  @RemoteFunction()
  fail(): void {
    const { code } = new Error('of a library') as Error & { code: string };
    throw new RemoteFunctionError(code, 'failed');
  }
}

async function connect(): Promise<PeerClient> {
  const module = await Test.createTestingModule({
    imports: [SealwireModule.forRoot({ serverKey: serverKeyText }), SealwireModule.forFeature({ path: 'payments' })],
    providers: [Functions],
  }).compile();
  const app = module.createNestApplication({ logger: false });
  onTestFinished(() => app.close());
  await app.listen(0, '127.0.0.1');
  const config = { modulePath: 'payments', keySize: 32, serverKey: serverKey.publicKey, secureKey: undefined } as const;
  const client = new PeerClient(urlOf(app), config);
  await client.connect();
  return client;
}

it('a method that another decorator wrapped takes its arguments', async () => {
  const client = await connect();
  expect(only(await client.call('pay', 'Ada', 5))).toBe('Ada gets 5');
});

it('an error whose code is no text fails its own call only', async () => {
  const client = await connect();
  const frame = client.frame([
    { name: 'pay', args: ['Ada', 5] },
    { name: 'fail', args: [] },
  ]);
  expect(await client.send(frame)).toMatchObject({ outcomes: [{ ok: true }, { ok: false, code: 'internal' }] });
});
