import { expect, it, onTestFinished } from 'vitest';
import { TcpProxy } from '../../../../test/support/tcp-proxy.js';
import { Database } from '../../src/typeorm/database.js';
import { connect, openPostgres } from './support.js';

/** 'Z', length 5, idle: the server's word that a connection is ready */
const READY = Buffer.from([0x5a, 0, 0, 0, 5, 0x49]);
const FIELDS = 'SFATAL\0C57P01\0Mterminating connection due to administrator command\0\0';
const FATAL = Buffer.concat([Buffer.from('E'), Buffer.alloc(4), Buffer.from(FIELDS)]);
FATAL.writeInt32BE(FATAL.length - 1, 1);

it('outlives a connection that ends in the moment it is handed out', async () => {
  const { url, close } = await openPostgres();
  onTestFinished(close);
  let stopping = false;
  // the server ends a new connection in the very packet that says it is ready
  const proxy = await TcpProxy.start(url, (chunk) =>
    stopping && chunk.subarray(-READY.length).equals(READY) ? Buffer.concat([chunk, FATAL]) : chunk,
  );
  onTestFinished(() => proxy.close());
  const dataSource = await connect(proxy.url);
  onTestFinished(() => dataSource.destroy());
  const database = new Database(dataSource, false);
  // holds the one connection that there is
  const runner = dataSource.createQueryRunner();
  await runner.connect();
  stopping = true;
  await expect(database.query('SELECT 1 AS one')).rejects.toMatchObject({ code: 'busy' });
  stopping = false;
  await runner.release();
  expect(await database.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
});
