import { type INestApplication, ValidationPipe } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { AppModule } from './app.module.js';
import { type Config, readSecrets, type Secrets } from './config.js';

/** The application, not yet listening. */
export async function createApp(config: Config, secrets: Secrets = readSecrets(config)): Promise<INestApplication> {
  const app = await NestFactory.create(AppModule.register(config, secrets), { abortOnError: false });
  app.useGlobalPipes(new ValidationPipe({ transform: true, whitelist: true, forbidNonWhitelisted: true }));
  return app;
}
