import { mkdtempSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createRemote, type RemoteApi } from '@sealwire/client';
import { formatKeyText, generateKeyText } from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import { KeyStore } from '@sealwire/nest';
import pg from 'pg';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { createApp } from '../src/app.js';
import { readConfig } from '../src/config.js';
import type { PublicController } from '../src/public/public.controller.js';
import { type FreshDatabase, freshDatabase } from './support/postgres.js';

const CALLS = 1_000;
let folder: string;
let database: FreshDatabase;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sealwire-warm-'));
  database = await freshDatabase();
});

afterEach(async () => {
  vi.restoreAllMocks();
  await database.drop();
  rmSync(folder, { recursive: true, force: true });
});

it('asks the database nothing for a warm call', async () => {
  const secrets = {
    keyEncryptionKey: generateKeyText('swe1', nodePrimitives),
    secureKey: generateKeyText('swk1', nodePrimitives),
  };
  const app = await createApp(
    readConfig({ DATABASE_URL: database.url, SEALWIRE_DATA: folder, SEALWIRE_ALLOW_FSYNC_OFF: 'yes' }),
    secrets,
    false,
  );
  try {
    await app.listen(0, '127.0.0.1');
    const [pair] = await app.get(KeyStore, { strict: false }).serverKeys();
    // sealed, though the module would take plaintext; its functions themselves ask no database
    const remote = createRemote<RemoteApi<PublicController>>({
      url: `http://127.0.0.1:${(app.getHttpServer().address() as AddressInfo).port}/remote/public`,
      serverKey: formatKeyText('swp1', pair!.publicKey),
    });
    await remote.rate('CHF');
    await remote.rate('CHF');

    const query = vi.spyOn(pg.Client.prototype, 'query');
    const started = performance.now();
    for (let i = 0; i < CALLS; i += 10) await Promise.all(Array.from({ length: 10 }, () => remote.rate('CHF')));
    const seconds = Math.ceil((performance.now() - started) / 1_000);
    remote.$close();

    // What is left is the store's own tick of once a second, however many calls there are.
    const statements = query.mock.calls.map(([statement]) => statement as unknown as string | { text: string });
    const texts = statements.map((statement) => (typeof statement === 'string' ? statement : statement.text));
    expect(texts.length, texts.join('\n')).toBeLessThanOrEqual(5 * (seconds + 1));
  } finally {
    await app.close();
  }
});
