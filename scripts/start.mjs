// Builds what is missing, starts the application as the demo, lets a client in a process of its own show the protocol at work, and
// keeps the server running, with its page, until Ctrl-C. The page may have it restarted. With --once it ends after the client, and takes
// a temporary data folder.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { readArguments } from './arguments.mjs';
import { buildIfStale, root } from './build.mjs';
import { END_WITH_PARENT, end } from './child.mjs';

const { once: isOnce } = readArguments('npm start -- [--once]', { once: { type: 'boolean', default: false } });

const children = new Set();
let isStopping = false;
let temporary;
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
  if (temporary) rmSync(temporary, { recursive: true, force: true, maxRetries: 5 });
});
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => void stop(isOnce ? 130 : 0));

try {
  await buildIfStale();
  const data = dataFolder();
  const port = await choosePort(await readAddress());
  let server = await startServer(data, port);
  /** @returns how many milliseconds it was down */
  const restart = async () => {
    await end(server.child);
    const down = performance.now();
    server = await startServer(data, server.port);
    return Math.round(performance.now() - down);
  };
  const passed = await runDemo(server, data, restart);
  if (!passed) console.error(`\nThe server's log:\n${server.log()}`);
  if (isOnce || !passed) await stop(passed ? 0 : 1);
  console.log(`\nOpen ${server.url} in a browser: the page shows what it says beside what a proxy sees of it.`);
  console.log(`The server keeps running at ${server.url} (state: ${server.url}/health). Ctrl-C ends it.`);
  for (;;) {
    server.child.stdout.pipe(process.stdout);
    server.child.stderr.pipe(process.stderr);
    // Node keeps a message that came while nobody listened: the page may ask while the client shows its story
    const asked = once(server.child, 'message').then(() => true);
    const code = await Promise.race([asked, once(server.child, 'exit').then(([status]) => status ?? 1)]);
    if (isStopping) break;
    if (code !== true) await stop(code);
    const milliseconds = await restart();
    console.log(`The page asked for a restart: the server was down for ${milliseconds} ms.`);
  }
} catch (error) {
  if (!isStopping) {
    console.error(error.message);
    await stop(1);
  }
}

function dataFolder() {
  if (!isOnce) return resolve(root, process.env.SEALWIRE_DATA || 'data');
  temporary = mkdtempSync(join(tmpdir(), 'sealwire-'));
  return join(temporary, 'data');
}

/** As the server reads it, which says what is wrong with it. */
async function readAddress() {
  const { readConfig } = await import('../dist/src/config.js');
  return readConfig({ ...process.env, SEALWIRE_DEMO: 'yes' });
}

async function choosePort({ port: wanted, host }) {
  const probe = createServer();
  try {
    probe.listen(wanted, host);
    await once(probe, 'listening');
    const { port } = probe.address();
    probe.close();
    await once(probe, 'close');
    return port;
  } catch (error) {
    // the server meets the same and says what to do
    if (error.code !== 'EADDRINUSE' || wanted === 0) return wanted;
    console.log(`Port ${wanted} is taken, so the server takes a free one.`);
    return choosePort({ port: 0, host });
  }
}

/** Resolves when the server listens. */
async function startServer(data, port) {
  const child = spawn(process.execPath, ['--import', END_WITH_PARENT, join(root, 'dist/src/main.js')], {
    cwd: root,
    env: { ...process.env, SEALWIRE_DATA: data, PORT: String(port), SEALWIRE_DEMO: 'yes', NO_COLOR: '1' },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  keep(child);
  let log = '';
  let pin;
  const listening = new Promise((found) => {
    const read = (text) => {
      log = (log + text).slice(-20_000);
      pin ??= /swp1\.[\w-]+\.[0-9a-f]{8}/.exec(log)?.[0];
      const url = /Listening on (http\S+)/.exec(log)?.[1];
      if (url) found(url);
    };
    child.stdout.setEncoding('utf8').on('data', read);
    child.stderr.setEncoding('utf8').on('data', read);
  });
  const url = await Promise.race([listening, once(child, 'exit').then(() => undefined)]);
  if (!url) throw new Error(`The server did not start.\n${log}`);
  return { child, url, pin, port, log: () => log };
}

/** Whether every step behaved. `restart` really stops and starts the server and answers how long that took. */
async function runDemo(server, data, restart) {
  const client = spawn(process.execPath, ['--import', END_WITH_PARENT, join(root, 'dist/src/demo/main.js')], {
    cwd: root,
    env: {
      ...process.env,
      SEALWIRE_DEMO_URL: server.url,
      SEALWIRE_DEMO_PIN: server.pin,
      SEALWIRE_SECURE_KEY: process.env.SEALWIRE_SECURE_KEY || readFileSync(join(data, 'secure-key'), 'utf8').trim(),
    },
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  keep(client);
  client.on('message', () =>
    restart().then(
      (ms) => client.connected && client.send(ms),
      () => client.kill(),
    ),
  );
  const [code] = await once(client, 'exit');
  return code === 0;
}

async function stop(code) {
  if (isStopping) return;
  isStopping = true;
  await Promise.all([...children].map(end));
  process.exit(code);
}

function keep(child) {
  children.add(child);
  child.once('exit', () => children.delete(child));
}
