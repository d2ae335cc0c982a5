// One instance of a server with sessions in PostgreSQL. Counts the statements that it sends.
import 'reflect-metadata';
import type { AddressInfo } from 'node:net';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import { RemoteFunction, RemoteFunctions, SealwireModule } from '@sealwire/nest';
import { sealwireEntities, sealwireMigrations, typeOrmStore } from '@sealwire/typeorm';
import pg from 'pg';
import { answerQuestions, usage } from './questions.js';

@RemoteFunctions('bench')
class EchoController {
  @RemoteFunction()
  echo(value: unknown): unknown {
    return value;
  }
}

const {
  DATABASE_URL: url = '',
  BENCH_SERVER_KEY: serverKey = '',
  BENCH_SECURE_KEY: secureKey = '',
  BENCH_KEK: keyEncryptionKey = '',
  BENCH_GUARD = 'memory',
} = process.env;

@Module({
  imports: [
    TypeOrmModule.forRoot({
      type: 'postgres',
      url,
      entities: sealwireEntities,
      migrations: sealwireMigrations,
      migrationsRun: true,
    }),
    SealwireModule.forRoot({
      serverKey,
      handshakeRate: false,
      handshakeRateTotal: false,
      store: typeOrmStore({ allowFsyncOff: true, kek: keyEncryptionKey, ledger: BENCH_GUARD as 'memory' | 'postgres' }),
    }),
    SealwireModule.forFeature({
      path: 'bench',
      secureKeys: [secureKey],
      maxSessions: 1_000_000,
      maxSessionsPerKey: 1_000_000,
    }),
  ],
  controllers: [EchoController],
})
class StoredModule {}

let statements = 0;
const query = pg.Client.prototype.query as (...parameters: unknown[]) => unknown;
Object.assign(pg.Client.prototype, {
  query(this: pg.Client, ...parameters: unknown[]) {
    statements++;
    return query.apply(this, parameters);
  },
});

const app = await NestFactory.create(StoredModule, { logger: ['error', 'warn'] });
await app.listen(0, '127.0.0.1');
// connections of one ledger rest while the other is measured
app.getHttpServer().keepAliveTimeout = 0;
process.once('SIGTERM', () => app.close().then(() => process.exit()));
answerQuestions({ usage: () => ({ ...usage(), statements }) });
process.send?.({ port: (app.getHttpServer().address() as AddressInfo).port });
