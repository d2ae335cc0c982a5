import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { formatKeyText, generateKeyText, parseServerPrivateKey } from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import pg from 'pg';
import { type ChaosOptions, ChaosProxy } from '../support/chaos-proxy.js';
import { freshDatabase } from '../support/postgres.js';
import { ServerProcess } from '../support/server-process.js';

const script = new URL('server.ts', import.meta.url);
const clock = new URL('clock.ts', import.meta.url).href;

export interface WorldServerOptions {
  ledger?: 'memory' | 'postgres';
  /** milliseconds by which the server's wall clock is wrong */
  clockShift?: number;
  nodeFlags?: readonly string[];
  /** seconds that the secrets of an epoch outlive it; the protocol's by default */
  epochGrace?: number;
  /** the store makes and keeps the server's key */
  storedServerKey?: boolean;
}

/** A database, its keys, and whatever servers, proxies and clients a test puts around it. `end` leaves nothing behind. */
export class World {
  readonly privateKey = generateKeyText('sws1', nodePrimitives);
  /** of each module its own */
  readonly secureKeys = {
    payments: generateKeyText('swk1', nodePrimitives),
    trace: generateKeyText('swk1', nodePrimitives),
  };
  readonly keyEncryptionKey = generateKeyText('swe1', nodePrimitives);
  readonly serverKey = this.publicText(parseServerPrivateKey(this.privateKey, nodePrimitives).publicKey);
  readonly servers: ServerProcess[] = [];
  readonly pool: pg.Pool;
  private readonly folder = mkdtempSync(join(tmpdir(), 'sealwire-fire-'));
  private readonly trace = join(this.folder, 'trace');
  private readonly ends: (() => unknown)[] = [];

  private constructor(readonly databaseUrl: string) {
    this.pool = new pg.Pool({ connectionString: databaseUrl, max: 4 });
    // the database is taken away from under its clients on purpose
    this.pool.on('error', () => undefined);
    writeFileSync(this.trace, '');
  }

  /** Without a URL it gets a database of its own on the shared server. */
  static async create(databaseUrl?: string): Promise<World> {
    if (databaseUrl) return new World(databaseUrl);
    const database = await freshDatabase();
    const world = new World(database.url);
    world.atEnd(() => database.drop());
    return world;
  }

  /** What a client of that module is configured with, but for the URL. */
  client<Module extends keyof World['secureKeys']>(module: Module) {
    return { module, serverKey: this.serverKey, secureKey: this.secureKeys[module] };
  }

  publicText(publicKey: Uint8Array): string {
    return formatKeyText('swp1', publicKey);
  }

  /** Not yet started. */
  server(options: WorldServerOptions = {}): ServerProcess {
    const server = new ServerProcess(script, {
      env: {
        DATABASE_URL: this.databaseUrl,
        SEALWIRE_KEK: this.keyEncryptionKey,
        FIRE_SERVER_KEY: options.storedServerKey ? '' : this.privateKey,
        FIRE_PAYMENTS_KEY: this.secureKeys.payments,
        FIRE_TRACE_KEY: this.secureKeys.trace,
        FIRE_TRACE: this.trace,
        FIRE_LEDGER: options.ledger ?? 'memory',
        FIRE_CLOCK_SHIFT: String(options.clockShift ?? 0),
        ...(options.epochGrace === undefined ? {} : { FIRE_EPOCH_GRACE: String(options.epochGrace) }),
      },
      nodeFlags: [...(options.clockShift ? ['--import', clock] : []), ...(options.nodeFlags ?? [])],
    });
    this.servers.push(server);
    return server;
  }

  async proxy(options: ChaosOptions): Promise<ChaosProxy> {
    const proxy = await ChaosProxy.start(options);
    this.atEnd(() => proxy.close());
    return proxy;
  }

  /** How often each reference was recorded by the function `record`, and by which processes. */
  runs(): Map<string, number[]> {
    const runs = new Map<string, number[]>();
    for (const line of readFileSync(this.trace, 'utf8').split('\n')) {
      const [reference, pid] = line.split(' ');
      if (reference) runs.set(reference, [...(runs.get(reference) ?? []), Number(pid)]);
    }
    return runs;
  }

  /** What was opened last ends first. */
  atEnd(end: () => unknown): void {
    this.ends.unshift(end);
  }

  async end(): Promise<void> {
    const failures: unknown[] = [];
    const steps = [
      ...this.servers.map((server) => () => server.end()),
      () => this.pool.end(),
      ...this.ends,
      () => rmSync(this.folder, { recursive: true, force: true }),
    ];
    for (const step of steps) {
      try {
        await step();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw new AggregateError(failures, 'the world did not end cleanly');
  }
}
