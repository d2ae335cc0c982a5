// Runs the application from its sources, and starts it again after every change in src or in a package.
import { spawn } from 'node:child_process';
import { watch } from 'node:fs';
import { join, resolve } from 'node:path';
import { root } from './build.mjs';
import { END_WITH_PARENT, end } from './child.mjs';

const WATCHED = ['src', 'libs/core/src', 'libs/nest/src', 'libs/typeorm/src'];
/** An editor writes several files at once. */
const PAUSE = 200;
const ARGUMENTS = ['--import', END_WITH_PARENT, '--import', '@oxc-node/core/register', join(root, 'src/main.ts')];

let server = start();
let timer;
let restarted = Promise.resolve();
for (const folder of WATCHED)
  watch(join(root, folder), { recursive: true }, (_, file) => changed(join(folder, file ?? '')));
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => void stop());

function changed(file) {
  if (!file.endsWith('.ts')) return;
  clearTimeout(timer);
  timer = setTimeout(() => {
    restarted = restarted.then(() => restart(file));
  }, PAUSE);
}

async function restart(file) {
  console.log(`\n${file} changed, the server starts again.`);
  // the database's folder takes one process at a time
  await end(server);
  server = start();
}

function start() {
  const child = spawn(process.execPath, ARGUMENTS, {
    cwd: root,
    env: { ...process.env, SEALWIRE_DATA: resolve(root, process.env.SEALWIRE_DATA || 'data') },
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  child.once('exit', (code) => {
    if (code) console.log(`The server ended with exit code ${code}; it starts again after the next change.`);
  });
  return child;
}

async function stop() {
  clearTimeout(timer);
  await restarted;
  await end(server);
  process.exit();
}
