import type { Server } from 'node:http';
import { Body, Controller, Header, HttpCode, Module, Post } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { CompactEncrypt, compactDecrypt } from 'jose';

const key = await crypto.subtle.importKey(
  'raw',
  Buffer.from(process.env.BENCH_RAW_KEY ?? '', 'hex'),
  'AES-GCM',
  false,
  ['encrypt', 'decrypt'],
);

/** What a team writes that seals its bodies by hand: JWE, one key for all, no protection against replays. */
@Controller('jose')
class JoseController {
  @Post('echo')
  @HttpCode(200)
  @Header('content-type', 'application/jose')
  async echo(@Body() body: string): Promise<string> {
    const { plaintext } = await compactDecrypt(body, key);
    const value: unknown = JSON.parse(new TextDecoder().decode(plaintext));
    const text = new TextEncoder().encode(JSON.stringify(value));
    return new CompactEncrypt(text).setProtectedHeader({ alg: 'dir', enc: 'A256GCM' }).encrypt(key);
  }
}

@Module({ controllers: [JoseController] })
class JoseModule {}

export async function start(): Promise<Server> {
  const app = await NestFactory.create<NestExpressApplication>(JoseModule, { logger: ['error', 'warn'] });
  app.useBodyParser('text', { type: 'application/jose', limit: '4mb' });
  await app.listen(0, '127.0.0.1');
  return app.getHttpServer();
}
