// @vitest-environment jsdom
import './support.js';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { provideHttpClient, withFetch as withFetchBackend } from '@angular/common/http';
import { Injector } from '@angular/core';
import { TestBed } from '@angular/core/testing';
import {
  provideSealwire,
  RemoteError,
  type RemoteModuleConfig,
  remoteAction,
  remoteResource,
  remoteStream,
  withFetch,
  withModule,
} from '@sealwire/angular';
import { formatKeyText, generateKeyText, parseServerPrivateKey } from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import { describe, expect, it, onTestFinished } from 'vitest';
import { endless } from '../../../test/support/endless.js';
import { eventually } from './eventually.js';
import { Payments, Rates, secureKeys, serverKey, startServer } from './server.js';

interface Scene {
  readonly config: RemoteModuleConfig;
  /** requests that came so far, without those that only ask for permission */
  tries(): number;
}

const cors = { 'access-control-allow-origin': '*', 'access-control-allow-headers': '*' };

/** A server that is none of ours. */
async function foreign(answer: RequestListener): Promise<Scene> {
  let tries = 0;
  const server = createServer((request, response) => {
    if (request.method !== 'OPTIONS') tries++;
    answer(request, response);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  const { port } = server.address() as AddressInfo;
  return {
    config: { url: `http://127.0.0.1:${port}/remote`, serverKey, secureKey: secureKeys[0] },
    tries: () => tries,
  };
}

async function own(config: RemoteModuleConfig): Promise<Scene> {
  const { url, seen } = await startServer();
  return {
    config: { url, serverKey, secureKey: secureKeys[0], ...config },
    tries: () => seen.filter(({ kind }) => kind === 'start').length,
  };
}

const html = '<!doctype html><title>Gateway</title><h1>Bad gateway</h1>';
const page =
  (status: number): RequestListener =>
  (request, response) => {
    response.writeHead(request.method === 'OPTIONS' ? 204 : status, { ...cors, 'content-type': 'text/html' }).end(html);
  };

const otherPin = formatKeyText(
  'swp1',
  parseServerPrivateKey(generateKeyText('sws1', nodePrimitives), nodePrimitives).publicKey,
);
const otherKey = generateKeyText('swk1', nodePrimitives);
const REFUSED = /The server answered HTTP 400 handshake_failed/;

const scenes: [string, () => Promise<Scene>, string, RegExp][] = [
  ['a wrong pin', () => own({ serverKey: otherPin }), 'handshake_failed', REFUSED],
  ['a wrong SecureKey', () => own({ secureKey: otherKey }), 'handshake_failed', REFUSED],
  [
    'no server',
    () => foreign((request) => request.socket.destroy()),
    'unreachable',
    /No Sealwire server was reached at http/,
  ],
  [
    'an HTML page of a proxy',
    () => foreign(page(502)),
    'unreachable',
    /answered HTTP 502.*not as a Sealwire server does/,
  ],
  [
    'an HTML page in place of the answer',
    () => foreign(page(200)),
    'unreachable',
    /answered HTTP 200.*not as a Sealwire server does/,
  ],
];
const blocked: (typeof scenes)[number] = [
  'blocked CORS',
  () => foreign((_, response) => response.writeHead(204).end()),
  'unreachable',
  /no server is there, .* or its CORS rules refuse http:.*: they must allow POST with the header content-type/,
];

describe.each([
  // Node's fetch has no CORS
  ['HttpClient', [] as const, [...scenes, blocked]],
  ['fetch', [withFetch()] as const, scenes],
])('over %s', (_, features, known) => {
  it.each(known)('%s is a typed error with a sentence, within two tries', async (_, scene, code, sentence) => {
    const { config, tries } = await scene();
    TestBed.configureTestingModule({
      providers: [
        provideHttpClient(),
        provideSealwire({}, withModule(Payments, config), withModule(Rates, config), ...features),
      ],
    });
    const injector = TestBed.inject(Injector);
    const begin = [
      () => remoteResource(Payments, (payments) => payments.balance({ account: 'a' }), { injector }),
      () => remoteStream(Rates, (rates) => rates.count(3), { injector }),
      () => {
        const action = remoteAction(Payments, (payments) => payments.transfer, { injector });
        action.run('a', 'b', 1n);
        return action;
      },
    ];
    for (const [i, start] of begin.entries()) {
      const before = tries();
      const shown = start();
      TestBed.tick();
      await eventually(() => shown.status()).toBe('error');
      expect(shown.error(), `${i}`).toBeInstanceOf(RemoteError);
      expect(shown.error()).toMatchObject({ code, message: expect.stringMatching(sentence) });
      expect(tries() - before).toBeLessThanOrEqual(2);
    }
  });
});

describe.each([
  ['HttpClient on XMLHttpRequest', provideHttpClient(), []],
  ['HttpClient on fetch', provideHttpClient(withFetchBackend()), []],
  ['fetch', provideHttpClient(), [withFetch()]],
])('over %s', (_, http, features) => {
  it.each([
    ['without a Content-Length', {}],
    ['with a Content-Length that goes far beyond', { 'content-length': 2 ** 40 }],
  ])('an endless answer %s ends as soon as it is longer than 64 MiB', async (_, headers) => {
    const server = endless(headers);
    const { config } = await foreign(server.answer);
    TestBed.configureTestingModule({
      providers: [http, provideSealwire({}, withModule(Payments, config), ...features)],
    });
    await expect(TestBed.inject(Payments).balance({ account: 'a' })).rejects.toMatchObject({
      code: 'unreachable',
      message: expect.stringContaining('The answer is longer than'),
      cause: { code: 'too_large' },
    });
    await eventually(() => server.open).toBe(0);
    expect(server.longest).toBeLessThan(128 * 1024 * 1024);
  });
});
