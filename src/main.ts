import 'reflect-metadata';
import { Logger } from '@nestjs/common';
import { SealwireError } from '@sealwire/core';
import { createApp, listen } from './app.js';
import { readConfig } from './config.js';
import { StartupError } from './startup-error.js';

try {
  const config = readConfig();
  const app = await createApp(config);
  app.enableShutdownHooks(['SIGTERM', 'SIGINT'], { useProcessExit: true });
  await listen(app, config);
  new Logger('Main').log(`Listening on ${await app.getUrl()}`);
} catch (error) {
  const expected = error instanceof StartupError || error instanceof SealwireError;
  console.error(expected ? error.message : error);
  process.exit(1);
}
