// Runs the application from its sources as the demo, and starts it again after every change in src or in a package. Beside it the page
// is built anew after every change in apps/web; `npm run build` makes what it needs of the packages.
import { spawn } from 'node:child_process';
import { watch } from 'node:fs';
import { join, resolve } from 'node:path';
import { readArguments } from './arguments.mjs';
import { root } from './build.mjs';
import { END_WITH_PARENT, end } from './child.mjs';

const WATCHED = ['src', 'libs/core/src', 'libs/nest/src', 'libs/typeorm/src'];
/** An editor writes several files at once. */
const PAUSE = 200;
const ARGUMENTS = ['--import', END_WITH_PARENT, '--import', '@oxc-node/core/register', join(root, 'src/main.ts')];

readArguments('npm run dev');

let isStopping = false;
let server = start();
const page = watchPage();
let timer;
let restarted = Promise.resolve();
for (const folder of WATCHED)
  watch(join(root, folder), { recursive: true }, (_, file) => changed(join(folder, file ?? '')));
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => void stop());

function changed(file) {
  if (!file.endsWith('.ts')) return;
  clearTimeout(timer);
  timer = setTimeout(() => queueRestart(`${file} changed`), PAUSE);
}

function queueRestart(reason) {
  restarted = restarted.then(() => restart(reason));
}

async function restart(reason) {
  console.log(`\n${reason}, the server starts again.`);
  // the database's folder takes one process at a time
  await end(server);
  server = start();
}

function start() {
  const child = spawn(process.execPath, ARGUMENTS, {
    cwd: root,
    env: { ...process.env, SEALWIRE_DEMO: 'yes', SEALWIRE_DATA: resolve(root, process.env.SEALWIRE_DATA || 'data') },
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  child.on('message', () => queueRestart('The page asked for it'));
  child.once('exit', (code) => {
    if (code) console.log(`The server ended with exit code ${code}; it starts again after the next change.`);
  });
  return child;
}

function watchPage() {
  const command = join(root, 'node_modules/@angular/cli/bin/ng.js');
  const child = spawn(process.execPath, ['--import', END_WITH_PARENT, command, 'build', '--watch'], {
    cwd: join(root, 'apps/web'),
    env: { ...process.env, NG_CLI_ANALYTICS: 'false' },
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  child.once('exit', (code) => {
    if (!isStopping) console.log(`The build of the page ended with exit code ${code}: end this and start it again.`);
  });
  return child;
}

async function stop() {
  isStopping = true;
  clearTimeout(timer);
  await restarted;
  await Promise.all([end(server), end(page)]);
  process.exit();
}
