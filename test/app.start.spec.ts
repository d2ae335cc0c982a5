import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { NestFactory } from '@nestjs/core';
import { generateKeyText } from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { listen } from '../src/app.js';
import { readConfig, readSecrets } from '../src/config.js';
import { lockFolder } from '../src/data-folder.js';
import { openDatabase } from '../src/database.js';
import { StartupError } from '../src/startup-error.js';

const main = fileURLToPath(new URL('../src/main.ts', import.meta.url));

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sealwire-start-'));
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** What a start that cannot be prints. */
async function refusal(env: Record<string, string>): Promise<string> {
  const child = spawn(process.execPath, ['--import', '@oxc-node/core/register', main], {
    env: { PATH: process.env.PATH, PORT: '0', ...env },
  });
  const errors: string[] = [];
  child.stdout.resume();
  child.stderr.setEncoding('utf8').on('data', (text: string) => errors.push(text));
  const [code] = await once(child, 'close');
  expect(code).toBe(1);
  return errors.join('');
}

it('a start is refused in one sentence on a data folder in use', async () => {
  const unlock = lockFolder(folder);
  try {
    const errors = await refusal({ SEALWIRE_DATA: folder });
    expect(errors).toContain(`The data folder ${folder} is in use by process ${process.pid}`);
    expect(errors).not.toContain(' at ');
  } finally {
    unlock();
  }
});

it('a start is refused in one sentence with a database but without the keys that guard it', async () => {
  const errors = await refusal({ DATABASE_URL: 'postgres://127.0.0.1:1/none' });
  expect(errors).toMatch(/^SEALWIRE_KEK is missing: .*keygen/);
  expect(errors.trim().split('\n')).toHaveLength(1);
  const kek = await refusal({
    DATABASE_URL: 'postgres://127.0.0.1:1/none',
    SEALWIRE_KEK: generateKeyText('swe1', nodePrimitives),
  });
  expect(kek).toMatch(/^SEALWIRE_SECURE_KEY is missing/);
});

it('a start is refused in one sentence with a key that is none', async () => {
  const errors = await refusal({ SEALWIRE_DATA: folder, SEALWIRE_KEK: 'correct horse battery staple' });
  expect(errors).toMatch(/^SEALWIRE_KEK: A key-encryption key has the form /);
  expect(errors.trim().split('\n')).toHaveLength(1);
});

it('names PORT and HOST where it cannot listen', async () => {
  const occupant = createServer().listen(0, '127.0.0.1');
  await once(occupant, 'listening');
  const { port } = occupant.address() as AddressInfo;
  const app = await NestFactory.create(class {}, { logger: false });
  const refused = await listen(app, { port, host: '127.0.0.1' }).catch((error) => error);
  expect(refused).toBeInstanceOf(StartupError);
  expect(refused.message).toMatch(/^The server cannot listen \(listen EADDRINUSE: .*\): set PORT and HOST to /);
  await app.close();
  occupant.close();
});

it.each([
  ['postgres://user:secret@127.0.0.1:1/none', 'cannot be used: connect ECONNREFUSED 127.0.0.1:1'],
  // where the name has several addresses too
  ['postgres://user:secret@localhost:1/none', 'cannot be used: connect ECONNREFUSED '],
  ['user:secret@localhost', 'must be a URL such as "postgres://'],
])('says what is wrong with %s as DATABASE_URL', async (url, sentence) => {
  const open = async () => openDatabase(readConfig({ DATABASE_URL: url }));
  const refused = await open().catch((error) => error);
  expect(refused).toBeInstanceOf(StartupError);
  expect(refused.message).toContain(`DATABASE_URL ${sentence}`);
  expect(refused.message).not.toContain('secret');
});

it('says that a list of keys has none', () => {
  expect(() => readSecrets(readConfig({ SEALWIRE_DATA: folder }), { SEALWIRE_KEK: ',' })).toThrow(
    /^SEALWIRE_KEK: A key-encryption key has the form /,
  );
});

it.each([
  ['PORT', 'http'],
  ['PORT', '65536'],
  ['SEALWIRE_LEDGER', 'none'],
])('names %s=%s', (name, value) => {
  expect(() => readConfig({ [name]: value })).toThrow(`${name} is "${value}"`);
});

it('makes its secrets only for the embedded database', () => {
  const made = readSecrets(readConfig({ SEALWIRE_DATA: folder }), {});
  expect(made.keyEncryptionKey).toMatch(/^swe1\./);
  expect(readSecrets(readConfig({ SEALWIRE_DATA: folder }), {})).toEqual(made);
});
