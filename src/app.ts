import { type INestApplication, type LoggerService, ValidationPipe } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { thrownText } from '@sealwire/core';
import { AppModule } from './app.module.js';
import { type Config, readSecrets, type Secrets } from './config.js';
import { openDatabase } from './database.js';
import { StartupError } from './startup-error.js';

/** The application, not yet listening. Closing it closes its database. */
export async function createApp(
  config: Config,
  secrets: Secrets = readSecrets(config),
  logger?: LoggerService | false,
): Promise<INestApplication> {
  // before Nest, which would print a stack below the sentence that says what is wrong
  const database = await openDatabase(config);
  try {
    const module = AppModule.register(config, secrets, database);
    const app = await NestFactory.create(module, { abortOnError: false, ...(logger === undefined ? {} : { logger }) });
    app.useGlobalPipes(new ValidationPipe({ transform: true, whitelist: true, forbidNonWhitelisted: true }));
    return app;
  } catch (error) {
    await database.destroy();
    throw error;
  }
}

export async function listen(app: INestApplication, { port, host }: Pick<Config, 'port' | 'host'>): Promise<void> {
  // what fails in a module is nothing that the address could put right
  await app.init();
  try {
    await app.listen(port, host);
  } catch (error) {
    throw new StartupError(`The server cannot listen (${thrownText(error)}): set PORT and HOST to what is free here.`);
  }
}
