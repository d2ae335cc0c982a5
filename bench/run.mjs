import { join } from 'node:path';
import { buildIfStale, root } from '../scripts/build.mjs';

await buildIfStale();
// without the source paths of the repository's own tsconfig: what is measured is what is built
process.env.TS_NODE_PROJECT = join(root, 'tsconfig.app.json');
await import('@oxc-node/core/register');
await import('./main.ts');
