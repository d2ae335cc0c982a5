// All servers that the benchmark compares, in one process. Told over IPC to measure itself.
import 'reflect-metadata';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Body, Controller, HttpCode, Module, Post } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { RemoteFunction, RemoteFunctions, SealwireModule } from '@sealwire/nest';

@RemoteFunctions('bench')
@Controller('json')
class EchoController {
  @RemoteFunction()
  echo(value: unknown): unknown {
    return value;
  }

  @Post('echo')
  @HttpCode(200)
  echoJson(@Body() value: unknown): unknown {
    return this.echo(value);
  }
}

const { BENCH_SERVER_KEY: serverKey = '', BENCH_SECURE_KEY: secureKey = '' } = process.env;

@Module({ controllers: [EchoController] })
class PlainModule {}

@Module({
  imports: [
    SealwireModule.forRoot({ serverKey, handshakeRate: false, maxBody: 4 * 2 ** 20 }),
    SealwireModule.forFeature({ path: 'bench', secureKeys: [secureKey] }),
  ],
  controllers: [EchoController],
})
class SealedModule {}

async function startNest(module: typeof PlainModule | typeof SealedModule): Promise<number> {
  const app = await NestFactory.create<NestExpressApplication>(module, { logger: ['error', 'warn'] });
  app.useBodyParser('json', { limit: '4mb' });
  await app.listen(0, '127.0.0.1');
  keepOpen(app.getHttpServer());
  return (app.getHttpServer().address() as AddressInfo).port;
}

/** Connections of one contender rest while the others are measured. */
function keepOpen(server: Server): void {
  server.keepAliveTimeout = 0;
}

async function startPlain(): Promise<number> {
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const answer = JSON.stringify(JSON.parse(Buffer.concat(chunks).toString('utf8')));
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(answer) });
      response.end(answer);
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  keepOpen(server);
  return (server.address() as AddressInfo).port;
}

const ports = {
  node: await startPlain(),
  nest: await startNest(PlainModule),
  sealed: await startNest(SealedModule),
};
process.on('disconnect', () => process.exit());
process.on('message', () => {
  globalThis.gc?.();
  const { user, system } = process.cpuUsage();
  process.send?.({ cpu: user + system, memory: process.memoryUsage().heapUsed });
});
process.send?.({ ports });
