import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { generateKeyText } from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import { expect, it } from 'vitest';
import { readConfig, readSecrets } from '../src/config.js';

it('gives the application in docker-compose.yml everything it asks for', async () => {
  const compose = await readFile(resolve(import.meta.dirname, '../docker-compose.yml'), 'utf8');
  const [, block = ''] = /^ {2}app:.*?^ {4}environment:\n(.*?)^ {4}\w/ms.exec(compose) ?? [];
  const given = [...block.matchAll(/^ {6}([A-Z_]+): (.+)$/gm)].map(([, name = '', value = '']) => [name, value]);
  const keys: Record<string, string> = {
    SEALWIRE_KEK: generateKeyText('swe1', nodePrimitives),
    SEALWIRE_SECURE_KEY: generateKeyText('swk1', nodePrimitives),
  };
  // compose puts in what the operator's environment has under the same name
  const env = Object.fromEntries(
    given.map(([name, value]) => [name, value?.startsWith(`\${${name}:?`) ? keys[name ?? ''] : value]),
  );
  expect(readSecrets(readConfig(env), env)).toEqual({
    keyEncryptionKey: keys.SEALWIRE_KEK,
    secureKey: keys.SEALWIRE_SECURE_KEY,
  });
});
