import { type DynamicModule, Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { SealwireModule } from '@sealwire/nest';
import { typeOrmStore } from '@sealwire/nest/typeorm';
import type { Config, Secrets } from './config.js';
import { openDatabase } from './database.js';
import { HealthController } from './health/health.controller.js';
import { PaymentsModule } from './payments/payments.module.js';
import { PublicModule } from './public/public.module.js';

@Module({})
export class AppModule {
  static register(config: Config, secrets: Secrets): DynamicModule {
    return {
      module: AppModule,
      imports: [
        TypeOrmModule.forRootAsync({
          useFactory: () => ({ type: 'postgres' }),
          dataSourceFactory: () => openDatabase(config),
        }),
        SealwireModule.forRoot({
          store: typeOrmStore({ keyEncryptionKeys: [secrets.keyEncryptionKey] }),
          replayGuard: config.replayGuard,
        }),
        SealwireModule.forFeature({
          path: 'payments',
          forceEncryption: true,
          requirePinnedKey: true,
          secureKeys: [secrets.secureKey],
        }),
        SealwireModule.forFeature({ path: 'public', encryptionKey: 0, forceEncryption: false }),
        PaymentsModule,
        PublicModule,
      ],
      controllers: [HealthController],
    };
  }
}
