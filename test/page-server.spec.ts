import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { createRemote, type RemoteApi } from '@sealwire/client';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { createApp } from '../src/app.js';
import { readConfig } from '../src/config.js';
import type { PaymentsController } from '../src/payments/payments.controller.js';
import type { DemoKeys } from '../src/web/demo.controller.js';

const OWN = { 'x-sealwire-demo': '1' };
let folder: string;
let app: NestExpressApplication;
let port: number;

/** With headers that fetch does not let anybody set. */
function ask(method: string, path: string, headers: Record<string, string> = {}, body?: object) {
  const type = body ? { 'content-type': 'application/json' } : {};
  return new Promise<{ status: number; headers: Record<string, unknown>; text: string }>((resolve, reject) => {
    request({ port, host: '127.0.0.1', method, path, headers: { ...headers, ...type } }, async (response) => {
      const parts = await response.toArray();
      resolve({ status: response.statusCode ?? 0, headers: response.headers, text: Buffer.concat(parts).toString() });
    })
      .on('error', reject)
      .end(body && JSON.stringify(body));
  });
}

async function start(env: Record<string, string>): Promise<void> {
  const config = readConfig({ SEALWIRE_DATA: join(folder, 'data'), SEALWIRE_PAGE: join(folder, 'page'), ...env });
  app = (await createApp(config, undefined, false)) as NestExpressApplication;
  await app.listen(0, '127.0.0.1');
  port = (app.getHttpServer().address() as AddressInfo).port;
}

async function remoteOf(keys: Pick<DemoKeys, 'serverKey' | 'secureKey'>) {
  const { serverKey, secureKey } = keys;
  const url = `http://127.0.0.1:${port}/remote/payments`;
  return createRemote<RemoteApi<PaymentsController>>({ url, serverKey, secureKey });
}

async function demoKeys(): Promise<DemoKeys> {
  return JSON.parse((await ask('GET', '/demo', OWN)).text);
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sealwire-page-'));
  mkdirSync(join(folder, 'page'));
  writeFileSync(join(folder, 'page', 'index.html'), '<app-root ngcspnonce="nonce-of-this-response"></app-root>');
  writeFileSync(join(folder, 'page', 'main-ABCD1234.js'), 'void 0;');
  writeFileSync(join(folder, 'page', 'robots.txt'), '');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));
afterEach(() => vi.restoreAllMocks());

describe('the demo', () => {
  beforeAll(() => start({ SEALWIRE_DEMO: 'yes' }));
  afterAll(() => app.close());

  it('serves its page with a policy that lets nothing in but itself, and keeps it in no cache', async () => {
    const first = await ask('GET', '/');
    const policy = String(first.headers['content-security-policy']);
    const [, nonce] = /'nonce-([\w+/=]+)'/.exec(policy) ?? [];
    expect(policy.split('; ')).toEqual([
      "default-src 'none'",
      "script-src 'self'",
      `style-src 'self' 'nonce-${nonce}'`,
      "img-src 'self' data:",
      "connect-src 'self'",
      "base-uri 'none'",
      "form-action 'none'",
      "frame-ancestors 'none'",
      "require-trusted-types-for 'script'",
      'trusted-types angular',
    ]);
    expect(first.text).toBe(`<app-root ngcspnonce="${nonce}"></app-root>`);
    expect(first.headers).toMatchObject({ 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' });
    const again = await ask('GET', '/index.html');
    expect(again.status).toBe(200);
    expect(again.text).not.toBe(first.text);
  });

  it.each(['/%69ndex.html', '//index.html', '/index%2ehtml', '/./index.html', '//', '/main-ABCD1234.js'])(
    'lets nothing run in, and nobody frame, what %s gives: it is not the page',
    async (path) => {
      const { headers, status } = await ask('GET', path);
      if (status === 200) {
        const policy = String(headers['content-security-policy']).split('; ');
        expect(policy).toEqual(expect.arrayContaining(["default-src 'none'", "frame-ancestors 'none'", 'sandbox']));
      } else expect(status).toBe(404);
    },
  );

  it('lets browsers keep what has its content in its name, and nothing else', async () => {
    const script = await ask('GET', '/main-ABCD1234.js');
    expect(script.headers).toMatchObject({
      'cache-control': 'public, max-age=31536000, immutable',
      'content-type': 'text/javascript; charset=utf-8',
      'x-content-type-options': 'nosniff',
    });
    expect((await ask('GET', '/robots.txt')).headers['cache-control']).toBe('no-cache');
    expect((await ask('GET', '/main-00000000.js')).status).toBe(404);
    expect((await ask('GET', '/..%2fdata%2fsecure-key')).text).not.toContain('swk1');
  });

  it('hands out a SecureKey of its own, says so, and still takes sealed calls before Express', async () => {
    const keys = await demoKeys();
    expect(keys.notice).toBe('The demo hands out its SecureKey; a real application gives each device its own.');
    expect(keys.secureKey).not.toBe(readFileSync(join(folder, 'data', 'secure-key'), 'utf8').trim());
    const remote = await remoteOf(keys);
    const handled = vi.spyOn(app.getHttpAdapter().getInstance() as unknown as { handle(): void }, 'handle');
    const { account } = await remote.open({ owner: 'Ada', deposit: 1n });
    expect(await remote.balance({ account })).toBe(1n);
    expect(handled).not.toHaveBeenCalled();
    remote.$close();
  });

  it.each([
    ['without the header of the page', {}],
    ['from the page of another site', { ...OWN, origin: 'https://evil.example' }],
    ['from another site, as the browser tells', { ...OWN, 'sec-fetch-site': 'cross-site' }],
    ['by a name that only points to this machine', { ...OWN, host: 'evil.example' }],
  ])('refuses to be asked %s', async (_, headers) => {
    for (const [method, path] of [
      ['GET', '/demo'],
      ['POST', '/demo/restart'],
      ['POST', '/demo/revoke'],
    ] as const) {
      const { status, text } = await ask(method, path, headers);
      expect(status).toBe(403);
      expect(text).not.toContain('swk1');
    }
  });

  it('revokes the session that it is told, and its client makes a new one', async () => {
    const remote = await remoteOf(await demoKeys());
    const { account } = await remote.open({ owner: 'Ada', deposit: 1n });
    const before = remote.$connection();
    if (before.state !== 'open') throw new Error(before.state);
    const origin = `http://127.0.0.1:${port}`;
    const revoke = (session: string) => ask('POST', '/demo/revoke', { ...OWN, origin }, { session });
    expect(JSON.parse((await revoke(before.sessionId)).text)).toEqual({ revoked: true });
    expect(JSON.parse((await revoke('0'.repeat(32))).text)).toEqual({ revoked: false });
    expect((await revoke('all')).status).toBe(400);
    expect(await remote.balance({ account })).toBe(1n);
    expect(remote.$connection()).toMatchObject({ state: 'open', renewed: 'session_ended' });
    remote.$close();
  });

  it('asks its parent for a restart, and says so if it has none', async () => {
    const { send } = process;
    const told: unknown[] = [];
    try {
      process.send = (message: unknown) => Boolean(told.push(message));
      expect((await ask('POST', '/demo/restart', OWN)).status).toBe(202);
      await expect.poll(() => told).toEqual(['restart']);
      process.send = undefined;
      const { status, text } = await ask('POST', '/demo/restart', OWN);
      expect(status).toBe(409);
      expect(text).toContain('it was not started by \\"npm start\\"');
    } finally {
      process.send = send;
    }
  });
});

describe('the demo on an address that others reach', () => {
  beforeAll(() => start({ SEALWIRE_DEMO: 'yes', HOST: '0.0.0.0' }));
  afterAll(() => app.close());

  it.each([
    ['192.168.0.7:3000', 200],
    ['[fe80::1]:3000', 200],
    ['localhost:3000', 200],
    ['evil.example', 403],
    ['evil.example:3000', 403],
    ['192.168.0.7.evil.example', 403],
  ])('is asked as %s, which an address or this machine is and no name that points to it: %i', async (host, status) => {
    const headers = { ...OWN, host, origin: `http://${host}`, 'sec-fetch-site': 'same-origin' };
    expect((await ask('GET', '/demo', headers)).status).toBe(status);
  });
});

it('is no demo in production', () => {
  expect(() => readConfig({ SEALWIRE_DEMO: 'yes', NODE_ENV: 'production' })).toThrow('SEALWIRE_DEMO gives a SecureKey');
  for (const name of ['SEALWIRE_DEMO', 'SEALWIRE_ALLOW_FSYNC_OFF']) {
    expect(() => readConfig({ [name]: 'true' })).toThrow(`${name} is "true", but it must be "yes" or "no".`);
  }
  for (const PORT of ['http', '-1', '65536', '1e3', '0x50', ' ']) {
    expect(() => readConfig({ PORT })).toThrow(`PORT is "${PORT}", but it must be a number from 0 to 65535.`);
  }
  expect(readConfig({ NODE_ENV: 'production' }).demo).toBe(false);
});

describe('an application that is not the demo', () => {
  beforeAll(() => start({}));
  afterAll(() => app.close());

  it('has no page if none was built', async () => {
    rmSync(join(folder, 'page', 'index.html'));
    expect((await ask('GET', '/')).status).toBe(404);
    writeFileSync(join(folder, 'page', 'index.html'), 'built');
  });

  it('serves the page and hands out nothing', async () => {
    expect((await ask('GET', '/')).status).toBe(200);
    expect((await ask('GET', '/demo', OWN)).status).toBe(404);
    expect((await ask('POST', '/demo/restart', OWN)).status).toBe(404);
  });
});
