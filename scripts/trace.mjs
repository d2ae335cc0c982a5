// Prints the route of one warm call: the files and functions of the packages that it passes, on client and server.
import { join } from 'node:path';
import { readArguments } from './arguments.mjs';
import { buildIfStale, root } from './build.mjs';

const { json } = readArguments('npm run trace -- [--json]', { json: { type: 'boolean', default: false } });
await buildIfStale();
process.env.TS_NODE_PROJECT = join(root, 'tsconfig.app.json');
await import('@oxc-node/core/register');
const { traceCall } = await import('./trace/call.ts');

const routes = await traceCall();
if (json) console.log(JSON.stringify(routes));
else for (const route of Object.values(routes)) print(route);

function print({ side, files, functions, awaits, core, steps }) {
  console.log(
    `\n${side}: ${files.length} files, ${functions} functions, ${awaits} awaits; and ${core.length} files of core`,
  );
  for (let at = 0; at < steps.length; ) {
    const { file } = steps[at];
    const next = steps.findIndex((step, index) => index > at && step.file !== file);
    const end = next < 0 ? steps.length : next;
    const names = [...new Set(steps.slice(at, end).map(({ name }) => name))];
    console.log(`  ${(file.startsWith('core/') ? `  ${file}` : file).padEnd(36)}  ${names.join(', ')}`);
    at = end;
  }
}
