import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Inject, Injectable, Logger, type OnModuleInit } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import type { Request, Response } from 'express';

export const PAGE_FOLDER = Symbol('page folder');

/** Where index.html takes the nonce of its styles: Angular makes style elements while it runs. */
const NONCE = 'nonce-of-this-response';
/** What the build calls by its content. */
const HASHED = /-[A-Z0-9]{8}\.\w+$/;

/**
 * The page as static files. They stand behind the route of sealed calls, which is the faster the less stands before it: the hooks of
 * Sealwire's module, which is global, run before those of this one.
 */
@Injectable()
export class PageAssets implements OnModuleInit {
  constructor(
    private readonly host: HttpAdapterHost,
    @Inject(PAGE_FOLDER) private readonly folder: string,
  ) {}

  onModuleInit(): void {
    const index = join(this.folder, 'index.html');
    if (!existsSync(index)) new Logger('Page').warn(`There is no page in ${this.folder}; "npm run build" makes it.`);
    const { httpAdapter } = this.host;
    httpAdapter.get(/^\/(index\.html)?$/, async (_request: Request, response: Response) => {
      // each time anew: while somebody works on the page, it changes
      const page = await readFile(index, 'utf8').catch(() => undefined);
      if (page === undefined) return response.sendStatus(404);
      const nonce = Buffer.from(crypto.getRandomValues(new Uint8Array(18))).toString('base64');
      response.set({ ...COMMON, 'cache-control': 'no-store', 'content-security-policy': policy(nonce) });
      return response.type('html').send(page.replaceAll(NONCE, nonce));
    });
    httpAdapter.useStaticAssets(this.folder, {
      index: false,
      redirect: false,
      cacheControl: false,
      setHeaders: (response: Response, path: string) => {
        const age = HASHED.test(path) ? 'public, max-age=31536000, immutable' : 'no-cache';
        response.set({ ...COMMON, 'cache-control': age, 'content-security-policy': NO_PAGE });
      },
    });
  }
}

const COMMON = {
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
};

/** Other spellings of the page's address, such as //index.html, are files too: whatever a file is, it is no page. */
const NO_PAGE = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox";

function policy(nonce: string): string {
  return [
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
  ].join('; ');
}
