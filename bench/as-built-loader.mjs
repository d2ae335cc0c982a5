import { readFile } from 'node:fs/promises';

export async function load(url, context, nextLoad) {
  const isBuilt = context.format === 'module' && url.startsWith('file:') && /\.m?js$/.test(url);
  return isBuilt
    ? { format: 'module', source: await readFile(new URL(url)), shortCircuit: true }
    : nextLoad(url, context);
}
