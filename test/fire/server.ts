/** The server under fire: the reference application's payments, and functions that leave a trace outside the database. */
import 'reflect-metadata';
import { appendFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Controller, type LoggerService, Module, ValidationPipe } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import { FRAME_TYPE, fromHex, LIMITS, type Primitives, toHex } from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import {
  type Injected,
  KeyStore,
  RemoteFunction,
  RemoteFunctions,
  RemoteSession,
  SealwireModule,
} from '@sealwire/nest';
import { typeOrmStore } from '@sealwire/typeorm';
import { ModuleRegistry } from '../../libs/nest/src/functions/registry.js';
import { Handshakes } from '../../libs/nest/src/sessions/handshakes.js';
import { openDatabase } from '../../src/database.js';
import { PaymentsModule } from '../../src/payments/payments.module.js';
import { heapUsed, openingArrays, textOccurrences } from './memory-probe.js';
import { StreamsController, seen } from './streams-controller.js';

function variable(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is missing`);
  return value;
}

const databaseUrl = variable('DATABASE_URL');
const serverKey = process.env.FIRE_SERVER_KEY;
const grace = Number(process.env.FIRE_EPOCH_GRACE ?? LIMITS.epochGraceSeconds);
Object.assign(LIMITS, { epochGraceSeconds: grace });
const ledger = process.env.FIRE_LEDGER === 'postgres' ? 'postgres' : 'memory';

/** What ran is written to a file before anything else happens: neither a kill nor a restored database takes it back. */
@RemoteFunctions('trace')
@Controller()
export class TraceController {
  @RemoteFunction()
  async record(reference: string, milliseconds = 0): Promise<number> {
    appendFileSync(variable('FIRE_TRACE'), `${reference} ${process.pid}\n`);
    if (milliseconds > 0) await sleep(milliseconds);
    return process.pid;
  }

  /** Its result is kept for duplicates. */
  @RemoteFunction()
  echo(text: string): string {
    return text;
  }

  /** Its outcome is kept in the transaction that it runs in. */
  @RemoteFunction({ exactlyOnce: true })
  once(text: string): string {
    return text;
  }

  @RemoteFunction()
  async remember(text: string, @RemoteSession() session: Injected<RemoteSession>): Promise<void> {
    await session.set('text', text);
  }

  @RemoteFunction({ idempotent: true })
  where(): number {
    return process.pid;
  }
}

@Module({
  imports: [
    TypeOrmModule.forRootAsync({
      useFactory: () => ({ type: 'postgres' as const }),
      dataSourceFactory: () => openDatabase({ databaseUrl, host: '', port: 0, dataFolder: '', ledger }),
    }),
    SealwireModule.forRoot({
      store: typeOrmStore({ kek: variable('SEALWIRE_KEK'), ledger, allowFsyncOff: true }),
      ...(serverKey ? { serverKey } : {}),
      // counts every address, refuses none
      handshakeRate: { perSecond: 1_000_000_000, burst: 1_000_000_000 },
      handshakeRateTotal: false,
    }),
    SealwireModule.forFeature({
      path: 'payments',
      secureKeys: [variable('FIRE_PAYMENTS_KEY')],
      requirePinnedKey: true,
    }),
    SealwireModule.forFeature({ path: 'trace', secureKeys: [variable('FIRE_TRACE_KEY')], requirePinnedKey: true }),
    PaymentsModule,
  ],
  controllers: [TraceController, StreamsController],
})
class FireModule {}

/** Step 1 many times without HTTP, each from an address of its own; answers how many step 2 came of it. */
async function halfOpen(frame: string, count: number): Promise<number> {
  const module = app.get(ModuleRegistry, { strict: false }).get('trace');
  if (!module) throw new Error('there is no module trace');
  const handshakes = app.get(Handshakes, { strict: false });
  cheapen(handshakes);
  let answered = 0;
  for (let index = 0; index < count; index++) {
    const answer = await handshakes.start(module, fromHex(frame), {
      address: `address ${index}`,
      lock: undefined,
      forwardingIgnored: false,
    });
    if (answer[0] === FRAME_TYPE.startAnswer) answered++;
  }
  return answered;
}

/** Nearly all of the work is public-key cryptography, which keeps no state: each result is computed once and then copied. */
function cheapen(handshakes: Handshakes): void {
  const { x25519, x25519Encapsulate, kemEncapsulate } = nodePrimitives;
  const results = new Map<string, Uint8Array>();
  let ephemeral: ReturnType<typeof x25519Encapsulate> | undefined;
  let kem: ReturnType<typeof kemEncapsulate> | undefined;
  const primitives: Primitives = {
    ...nodePrimitives,
    x25519: (privateKey, publicKey) => {
      const name = `${Buffer.from(privateKey).toString('latin1')} ${Buffer.from(publicKey).toString('latin1')}`;
      const result = results.get(name) ?? x25519(privateKey, publicKey);
      results.set(name, result);
      return result.slice();
    },
    x25519Encapsulate: (recipient, seed) => {
      ephemeral ??= x25519Encapsulate(recipient, seed);
      return { publicKey: ephemeral.publicKey.slice(), sharedSecret: ephemeral.sharedSecret.slice() };
    },
    kemEncapsulate: (key, coins) => {
      kem ??= kemEncapsulate(key, coins);
      return { ciphertext: kem.ciphertext.slice(), sharedSecret: kem.sharedSecret.slice() };
    },
  };
  Object.assign(Reflect.get(handshakes, 'suite'), { primitives });
}

const questions: Record<string, (...parameters: never[]) => unknown> = {
  halfOpen,
  heapUsed,
  openingArrays,
  textOccurrences,
  seen: () => seen,
  serverKeys: async () => {
    const pairs = await app.get(KeyStore, { strict: false }).serverKeys();
    return pairs.map(({ publicKey, privateKey }) => ({ publicKey: toHex(publicKey), privateKey: toHex(privateKey) }));
  },
};
process.on('message', async ({ id, question, parameters }: { id: number; question: string; parameters: never[] }) => {
  try {
    process.send?.({ id, answer: await questions[question]?.(...parameters) });
  } catch (error) {
    process.send?.({ id, error: String(error) });
  }
});
process.once('disconnect', () => process.exit());

const app = await NestFactory.create(FireModule, { abortOnError: false, logger: warnings() });
app.useGlobalPipes(new ValidationPipe({ transform: true, whitelist: true, forbidNonWhitelisted: true }));
app.enableShutdownHooks(['SIGTERM'], { useProcessExit: true });
const server = await app.listen(0, '127.0.0.1');
process.send?.({ port: server.address().port });

function warnings(): LoggerService {
  const write = (...parts: unknown[]) => console.error(process.pid, ...parts);
  return { log: () => undefined, warn: write, error: write };
}
