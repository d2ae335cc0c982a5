import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { createRemote, type RemoteApi } from '@sealwire/client';
import { formatKeyText, generateKeyText } from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import { KeyStore } from '@sealwire/nest';
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Route } from '../scripts/trace/call.js';
import { createApp } from '../src/app.js';
import { readConfig } from '../src/config.js';
import type { PublicController } from '../src/public/public.controller.js';
import { type FreshDatabase, freshDatabase } from './support/postgres.js';

const CALLS = 1_000;
describe('the store', () => {
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
});

/** What stays of a call when everything is warm. `npm run trace` prints the route. */
describe('the route of a warm call', () => {
  const script = fileURLToPath(new URL('../scripts/trace.mjs', import.meta.url));
  const traced = promisify(execFile)(process.execPath, [script, '--json'], { maxBuffer: 2 ** 24 }).then(
    ({ stdout }): { client: Route; server: Route } => JSON.parse(stdout),
  );
  // the first test to await it tells
  traced.catch(() => undefined);

  it('passes few files of the server and few awaits', async () => {
    const { server } = await traced;
    expect(server.files.length, server.files.join('\n')).toBeLessThanOrEqual(13);
    expect(server.awaits).toBeLessThanOrEqual(6);
    expect(server.steps.map(({ name }) => name)).toContain('openCall');
  }, 120_000);

  it('passes few files of the client', async () => {
    const { client } = await traced;
    expect(client.files.length, client.files.join('\n')).toBeLessThanOrEqual(6);
    expect(client.steps.map(({ name }) => name)).toContain('openResult');
  }, 120_000);

  it('is the one that CONTRIBUTING.md shows', async () => {
    const text = readFileSync(new URL('../CONTRIBUTING.md', import.meta.url), 'utf8');
    for (const { side, files } of Object.values(await traced)) {
      const [, shown = ''] = new RegExp(`^${side} +([^]+?)\\n(?=\\S)`, 'm').exec(text) ?? [];
      expect(shown.split(/,\s+/), side).toEqual(files.map((file) => file.slice(file.indexOf('/') + 1)));
    }
  }, 120_000);
});
