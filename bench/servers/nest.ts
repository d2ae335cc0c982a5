import type { Server } from 'node:http';
import { Module, type Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { EchoController } from './echo.js';
import { GuardedController } from './guarded.js';
import { StreamingController } from './streaming.js';

const LIMIT = 4 * 2 ** 20;

@Module({ controllers: [EchoController] })
class PlainModule {}

@Module({ controllers: [GuardedController] })
class GuardedModule {}

@Module({ controllers: [StreamingController] })
class StreamsModule {}

const KINDS: Readonly<Record<string, () => Promise<{ getHttpServer(): Server }>>> = {
  'nest-express': () => onExpress(PlainModule),
  'nest-guarded': () => onExpress(GuardedModule),
  'nest-streams': () => onExpress(StreamsModule),
  'nest-fastify': () => onFastify(PlainModule),
};

/** JSON controllers of Nest without Sealwire. */
export async function start(kind: string): Promise<Server> {
  const app = await KINDS[kind]?.();
  if (!app) throw new Error(`there is no server '${kind}'`);
  return app.getHttpServer();
}

export async function onExpress(module: Type): Promise<NestExpressApplication> {
  const app = await NestFactory.create<NestExpressApplication>(module, { logger: ['error', 'warn'] });
  app.useBodyParser('json', { limit: LIMIT });
  await app.listen(0, '127.0.0.1');
  return app;
}

export async function onFastify(module: Type) {
  const { FastifyAdapter } = await import('@nestjs/platform-fastify');
  const app = await NestFactory.create(module, new FastifyAdapter({ bodyLimit: LIMIT }), { logger: ['error', 'warn'] });
  await app.listen(0, '127.0.0.1');
  return app;
}
