import { type CanActivate, Injectable, type NestInterceptor } from '@nestjs/common';
import { APP_GUARD, APP_INTERCEPTOR } from '@nestjs/core';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import { formatKeyText, generateKeyText, parseServerPrivateKey } from '@sealwire/core';
import {
  KeyRing,
  KeyStore,
  RemoteFunction,
  RemoteFunctions,
  SealwireModule,
  type SealwireOptions,
} from '@sealwire/nest';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { only, PeerClient, primitives, serverKey, serverKeyText, urlOf } from './support.js';

@RemoteFunctions('payments')
class Payments {
  @RemoteFunction()
  hello(): string {
    return 'hello';
  }
}

@Injectable()
class Nobody implements CanActivate {
  canActivate(): boolean {
    return false;
  }
}

@Injectable()
class Fails implements NestInterceptor {
  intercept(): never {
    throw new Error('not here');
  }
}

const pin = formatKeyText('swp1', serverKey.publicKey);
const PLATFORMS = { express: undefined, fastify: () => new FastifyAdapter() };

async function start(
  platform: keyof typeof PLATFORMS,
  options: SealwireOptions,
  { origin, providers = [], prefix }: { origin?: string; providers?: object[]; prefix?: string } = {},
) {
  const testing = await Test.createTestingModule({
    imports: [
      SealwireModule.forRoot({ serverKey: serverKeyText, ...options }),
      SealwireModule.forFeature({ path: 'payments' }),
    ],
    controllers: [Payments],
    providers: providers as never,
  }).compile();
  const adapter = PLATFORMS[platform]?.();
  const app = adapter ? testing.createNestApplication(adapter) : testing.createNestApplication();
  app.useLogger(false);
  if (prefix !== undefined) app.setGlobalPrefix(prefix);
  if (origin !== undefined) app.enableCors({ origin });
  await app.listen(0, '127.0.0.1');
  onTestFinished(() => app.close());
  return app;
}

describe.each(Object.keys(PLATFORMS) as (keyof typeof PLATFORMS)[])('the public key on %s', (platform) => {
  it('is given to anybody if the application turns that on, whatever its guards say', async () => {
    const guards = [
      { provide: APP_GUARD, useClass: Nobody },
      { provide: APP_INTERCEPTOR, useClass: Fails },
    ];
    const app = await start(platform, { servePublicKey: true }, { origin: 'https://app.test', providers: guards });
    const url = urlOf(app);
    const response = await fetch(url);
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({ serverKey: [pin] });
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'content-type': 'application/json',
      'cache-control': 'public, max-age=300',
      'access-control-allow-origin': 'https://app.test',
    });
    const head = await fetch(url, { method: 'HEAD' });
    expect([head.status, await head.text(), head.headers.get('content-type')]).toEqual([200, '', 'application/json']);
    expect(head.headers.get('content-length')).toBe(response.headers.get('content-length'));
  });

  it('is below the global prefix, of known modules only, and leaves the other methods as they are', async () => {
    const app = await start(platform, { servePublicKey: true }, { prefix: 'api' });
    expect((await fetch(urlOf(app, '/api/remote/payments?x=1'))).status).toBe(200);
    const unknown = await fetch(urlOf(app, '/api/remote/other'));
    expect(unknown.status).toBe(404);
    expect(await unknown.json()).toMatchObject({ code: 'module_unknown' });
    for (const method of ['PUT', 'DELETE']) {
      expect((await fetch(urlOf(app, '/api/remote/payments'), { method })).status).toBe(404);
    }
    const client = new PeerClient(urlOf(app, '/api/remote/payments'), {
      modulePath: 'payments',
      keySize: 32,
      serverKey: serverKey.publicKey,
    });
    await client.connect();
    expect(only(await client.call('hello'))).toBe('hello');
  });

  it('is not given by default', async () => {
    const app = await start(platform, {});
    expect((await fetch(urlOf(app))).status).toBe(404);
    expect((await fetch(urlOf(app), { method: 'HEAD' })).status).toBe(404);
  });

  it('comes with its successor while keys are rotated, the newest first and never more than a client takes', async () => {
    const keys = Array.from({ length: 3 }, () => generateKeyText('sws1', primitives));
    const app = await start(platform, { serverKey: keys, servePublicKey: true });
    const pins = keys.map((text) => formatKeyText('swp1', parseServerPrivateKey(text, primitives).publicKey));
    expect(await (await fetch(urlOf(app))).json()).toEqual({ serverKey: pins.slice(0, 2) });
    expect(await app.get(KeyRing).publicKeys()).toEqual(pins.slice(0, 2));
  });

  it('is busy, and cached by nobody, while the store cannot be asked', async () => {
    const testing = await Test.createTestingModule({
      imports: [SealwireModule.forRoot({ servePublicKey: true }), SealwireModule.forFeature({ path: 'payments' })],
      controllers: [Payments],
    }).compile();
    const adapter = PLATFORMS[platform]?.();
    const app = adapter ? testing.createNestApplication(adapter) : testing.createNestApplication();
    app.useLogger(false);
    await app.listen(0, '127.0.0.1');
    onTestFinished(() => app.close());
    const later = Date.now() + 60_000;
    vi.spyOn(Date, 'now').mockReturnValue(later);
    vi.spyOn(performance, 'now').mockReturnValue(performance.now() + 60_000);
    vi.spyOn(app.get(KeyStore, { strict: false }), 'serverKeys').mockRejectedValue(new Error('down'));
    const response = await fetch(urlOf(app));
    vi.restoreAllMocks();
    expect(response.status).toBeGreaterThanOrEqual(500);
    expect(response.headers.get('cache-control')).toContain('no-store');
  });
});

it('the option is a switch', () => {
  const wrong = { serverKey: serverKeyText, servePublicKey: 'yes' } as never;
  const testing = Test.createTestingModule({ imports: [SealwireModule.forRoot(wrong)] });
  return expect(testing.compile()).rejects.toMatchObject({
    code: 'bad_configuration',
    message: expect.stringContaining('servePublicKey'),
  });
});
