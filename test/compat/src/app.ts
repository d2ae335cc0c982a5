import 'reflect-metadata';
import type { AddressInfo } from 'node:net';
import { PGlite } from '@electric-sql/pglite';
import type { INestApplication } from '@nestjs/common';
import { Module } from '@nestjs/common';
import { APP_PIPE, NestFactory } from '@nestjs/core';
import { TypeOrmModule, type TypeOrmModuleOptions } from '@nestjs/typeorm';
import { createRemote, fetchTransport, type Remote, type RemoteApi, type Transport } from '@sealwire/client';
import { generateKeyText } from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import { KeyRing, SealwireModule } from '@sealwire/nest';
import { Payment } from './payment.entity';
import { Addresses, Exactly, PaymentsController, pipe } from './payments';
import { sealwireEntities, sealwireMigrations, typeOrmStore } from './store';

// this subpath has no types for moduleResolution node10
const { createPgConfig } = require('@electric-sql/pglite/node-postgres') as {
  createPgConfig(pglite: PGlite): object;
};

export type Api = RemoteApi<PaymentsController> & RemoteApi<Addresses> & RemoteApi<Exactly>;

export interface Running {
  readonly app: INestApplication;
  readonly url: string;
  remote(transport?: Transport): Promise<Remote<Api>>;
  stop(): Promise<void>;
}

const secureKey = generateKeyText('swk1', nodePrimitives);

/** The application on a free port, on a database in memory or on none. */
export async function start({ database }: { readonly database: boolean }): Promise<Running> {
  const pglite = database ? await PGlite.create() : undefined;
  const store = typeOrmStore({ kek: generateKeyText('swe1', nodePrimitives), exclusiveDatabase: true });

  @Module({
    imports: [
      ...(pglite ? [TypeOrmModule.forRoot(databaseOptions(pglite))] : []),
      SealwireModule.forRoot(pglite ? { store } : {}),
      SealwireModule.forFeature({ path: 'payments', secureKeys: [secureKey] }),
    ],
    controllers: [PaymentsController, ...(pglite ? [Exactly] : [])],
    providers: [Addresses, { provide: APP_PIPE, useValue: pipe }],
  })
  class AppModule {}

  await pglite?.exec('CREATE TABLE payment (id serial PRIMARY KEY, who text NOT NULL, amount integer NOT NULL)');
  const app = await NestFactory.create(AppModule, { logger: false, abortOnError: false });
  await app.listen(0, '127.0.0.1');
  const url = `http://127.0.0.1:${(app.getHttpServer().address() as AddressInfo).port}/remote/payments`;
  return {
    app,
    url,
    async remote(transport = fetchTransport()) {
      const { publicKey } = await app.get(KeyRing).describe();
      return createRemote<Api>({ url, serverKey: publicKey, secureKey, transport });
    },
    async stop() {
      await app.close();
      await pglite?.close();
    },
  };
}

function databaseOptions(pglite: PGlite): TypeOrmModuleOptions {
  return {
    type: 'postgres',
    entities: [Payment, ...sealwireEntities],
    migrations: sealwireMigrations,
    migrationsRun: true,
    poolSize: 1,
    connectTimeoutMS: 10_000,
    extra: { ...createPgConfig(pglite), max: 1, idleTimeoutMillis: 0 },
  };
}
