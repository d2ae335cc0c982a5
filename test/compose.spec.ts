import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { expect, it } from 'vitest';
import { readConfig, readSecrets } from '../src/config.js';

it('gives the application in docker-compose.yml everything it asks for', async () => {
  const compose = await readFile(resolve(import.meta.dirname, '../docker-compose.yml'), 'utf8');
  const [, block = ''] = /^ {2}app:.*?^ {4}environment:\n(.*?)^ {4}\w/ms.exec(compose) ?? [];
  const given = [...block.matchAll(/^ {6}([A-Z_]+): (.+)$/gm)].map(([, name = '', value = '']) => [name, value]);
  const env = Object.fromEntries(given);
  expect(readSecrets(readConfig(env), env)).toEqual({
    keyEncryptionKey: env.SEALWIRE_KEK,
    secureKey: env.SEALWIRE_SECURE_KEY,
  });
});
