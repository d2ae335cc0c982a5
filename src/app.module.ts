import { type DynamicModule, Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { SealwireModule } from '@sealwire/nest';
import { typeOrmStore } from '@sealwire/typeorm';
import type { DataSource } from 'typeorm';
import type { Config, Secrets } from './config.js';
import { HealthController } from './health/health.controller.js';
import { PaymentsModule } from './payments/payments.module.js';
import { PublicModule } from './public/public.module.js';
import { WebModule } from './web/web.module.js';

@Module({})
export class AppModule {
  static register(config: Config, secrets: Secrets, database: DataSource): DynamicModule {
    return {
      module: AppModule,
      imports: [
        TypeOrmModule.forRootAsync({
          useFactory: () => ({ ...database.options }),
          dataSourceFactory: async () => database,
        }),
        SealwireModule.forRoot({
          store: typeOrmStore({
            kek: secrets.keyEncryptionKey,
            ledger: config.ledger,
            exclusiveDatabase: config.databaseUrl === undefined,
            allowFsyncOff: config.allowFsyncOff ?? false,
          }),
        }),
        SealwireModule.forFeature({
          path: 'payments',
          forceEncryption: true,
          requirePinnedKey: true,
          secureKeys: [secrets.secureKey, ...(secrets.demoSecureKey ? [secrets.demoSecureKey] : [])],
        }),
        SealwireModule.forFeature({ path: 'public', forceEncryption: false }),
        PaymentsModule,
        PublicModule,
        WebModule.register(config, secrets),
      ],
      controllers: [HealthController],
    };
  }
}
