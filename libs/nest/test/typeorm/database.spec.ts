import { once } from 'node:events';
import { type AddressInfo, connect as connectTo, createServer } from 'node:net';
import { expect, it, onTestFinished } from 'vitest';
import { Database } from '../../src/typeorm/database.js';
import { connect, openPostgres } from './support.js';

/** 'Z', length 5, idle: the server's word that a connection is ready */
const READY = Buffer.from([0x5a, 0, 0, 0, 5, 0x49]);
const FIELDS = 'SFATAL\0C57P01\0Mterminating connection due to administrator command\0\0';
const FATAL = Buffer.concat([Buffer.from('E'), Buffer.alloc(4), Buffer.from(FIELDS)]);
FATAL.writeInt32BE(FATAL.length - 1, 1);

/** A way to the database where a new connection is ended, once `stopping`, in the very packet that says it is ready. */
async function stoppingServer(url: string) {
  const { hostname, port } = new URL(url);
  const state = { stopping: false };
  const proxy = createServer((client) => {
    const server = connectTo(Number(port), hostname);
    const end = () => {
      client.destroy();
      server.destroy();
    };
    for (const socket of [client, server]) socket.on('error', () => undefined).on('close', end);
    client.pipe(server);
    server.on('data', (data) => {
      const last = state.stopping && data.subarray(-READY.length).equals(READY);
      client.write(last ? Buffer.concat([data, FATAL]) : data);
    });
  });
  await once(proxy.listen(0, '127.0.0.1'), 'listening');
  const target = new URL(url);
  target.port = String((proxy.address() as AddressInfo).port);
  return { url: target.href, state, close: () => proxy.close() };
}

it('outlives a connection that ends in the moment it is handed out', async () => {
  const { url, close } = await openPostgres();
  onTestFinished(close);
  const proxy = await stoppingServer(url);
  onTestFinished(() => void proxy.close());
  const dataSource = await connect(proxy.url);
  onTestFinished(() => dataSource.destroy());
  const database = new Database(dataSource, false);
  // holds the one connection that there is
  const runner = dataSource.createQueryRunner();
  await runner.connect();
  proxy.state.stopping = true;
  await expect(database.query('SELECT 1 AS one')).rejects.toMatchObject({ code: 'busy' });
  proxy.state.stopping = false;
  await runner.release();
  expect(await database.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
});
