import { instrument } from './instrument.mjs';

const PACKAGE = /[/]libs[/](?<path>(?:core|client|nest|typeorm)[/]dist[/].*)[.]js$/;

export async function load(url, context, nextLoad) {
  const loaded = await nextLoad(url, context);
  const path = PACKAGE.exec(url)?.groups?.path;
  if (path === undefined || loaded.source === undefined || loaded.source === null) return loaded;
  const source = typeof loaded.source === 'string' ? loaded.source : Buffer.from(loaded.source).toString('utf8');
  return { ...loaded, source: instrument(source, path.replace('/dist/', '/')) };
}
