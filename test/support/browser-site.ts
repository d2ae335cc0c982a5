/** A Nest application with remote functions, and pages that load the client from it. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { DynamicModule, INestApplication, Type } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { formatKeyText, generateKeyText, parseServerPrivateKey } from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import { SealwireModule } from '@sealwire/nest';
import { bundle } from './browser-bundle.js';

export interface Site {
  readonly app: INestApplication;
  /** `http://127.0.0.1:port`, where the pages are and the modules below `/remote` */
  readonly origin: string;
  readonly port: number;
  readonly serverKey: string;
  /** public key of the server, `swp1...` */
  readonly pin: string;
  close(): Promise<void>;
}

export interface SiteOptions {
  readonly controllers: readonly Type[];
  /** modules by path (default `{ things: {} }`), with the options of `forFeature` */
  readonly modules?: Readonly<Record<string, object>>;
  /** further modules of Nest */
  readonly imports?: readonly DynamicModule[];
  /** options of `forRoot` */
  readonly root?: object;
  readonly serverKey?: string;
  /** default: a free one */
  readonly port?: number;
  /** before the application listens: middleware, CORS */
  readonly prepare?: (app: INestApplication) => void;
  readonly pages?: PagesOptions;
}

/** The caller closes it. */
export async function startSite(options: SiteOptions): Promise<Site> {
  const { controllers, modules = { things: {} }, root = {}, imports = [], prepare, port = 0 } = options;
  const serverKey = options.serverKey ?? generateKeyText('sws1', nodePrimitives);
  const testing = await Test.createTestingModule({
    imports: [
      ...imports,
      SealwireModule.forRoot({ serverKey, handshakeRate: false, handshakeRateTotal: false, ...root }),
      ...Object.entries(modules).map(([path, feature]) => SealwireModule.forFeature({ path, ...feature })),
    ],
    controllers: [...controllers],
  }).compile();
  const app = testing.createNestApplication({ forceCloseConnections: true });
  app.useLogger(false);
  app.use(await pages(options.pages));
  prepare?.(app);
  await app.listen(port, '127.0.0.1');
  const bound = (app.getHttpServer().address() as AddressInfo).port;
  return {
    app,
    origin: `http://127.0.0.1:${bound}`,
    port: bound,
    serverKey,
    pin: formatKeyText('swp1', parseServerPrivateKey(serverKey, nodePrimitives).publicKey),
    close: () => app.close(),
  };
}

export interface PagesOptions {
  /** of every page, such as `content-security-policy` */
  readonly headers?: Readonly<Record<string, string>>;
  /** further scripts by name (served as `/name.js`): a path below the repository, or source text */
  readonly scripts?: Readonly<Record<string, string | { source: string }>>;
  /** of the page, after the scripts */
  readonly html?: string;
  /** where the client comes from (default: the sources) */
  readonly of?: 'sources' | 'packages';
  /** first line of every script */
  readonly banner?: string;
  /** source text of `/page.js` (default: all tools of `browser-page.ts`) */
  readonly page?: string;
}

type Middleware = (request: IncomingMessage, response: ServerResponse, next: () => void) => void;

/** `/` is a page that loads `/page.js`, whose tools `OpenPage.run` hands out, and the other scripts' own. */
export async function pages({
  headers = {},
  scripts = {},
  html = '',
  of,
  banner,
  page: source,
}: PagesOptions = {}): Promise<Middleware> {
  const entries = { page: source === undefined ? 'test/support/browser-page.ts' : { source }, ...scripts };
  const { files } = await bundle(entries, of, banner === undefined ? {} : { banner: { js: banner } });
  const page = `<!doctype html><title>Sealwire</title><link rel="icon" href="data:,">
<script type="module" src="/page.js"></script>${html}`;
  return (request, response, next) => {
    const path = (request.url ?? '').replace(/\?.*/, '');
    const script = files.get(path.slice(1));
    if (request.method !== 'GET' || (path !== '/' && !script)) return next();
    response.setHeaders(new Map(Object.entries(headers)));
    response.setHeader('content-type', script ? 'text/javascript' : 'text/html; charset=utf-8');
    response.end(script ?? page);
  };
}

/** The pages alone, on an origin of their own. */
export async function startPages(options?: PagesOptions): Promise<{ origin: string; close(): void }> {
  const serve = await pages(options);
  const server = createServer((request, response) => {
    serve(request, response, () => response.writeHead(404).end());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}
