import { type DynamicModule, Module, type Provider } from '@nestjs/common';
import type { Config, Secrets } from '../config.js';
import { DEMO, DemoController } from './demo.controller.js';
import { PAGE_FOLDER, PageAssets } from './page-assets.js';

/** The page of this application, and what it needs of the server if that runs as the demo. */
@Module({})
export class WebModule {
  static register({ pageFolder, host }: Config, { demoSecureKey }: Secrets): DynamicModule {
    const providers: Provider[] = [];
    if (pageFolder !== undefined) providers.push(PageAssets, { provide: PAGE_FOLDER, useValue: pageFolder });
    if (demoSecureKey === undefined) return { module: WebModule, providers };
    providers.push({ provide: DEMO, useValue: { secureKey: demoSecureKey, host } });
    return { module: WebModule, controllers: [DemoController], providers };
  }
}
