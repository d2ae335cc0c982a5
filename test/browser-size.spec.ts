import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { expect, it } from 'vitest';

const PAGE = "export { createRemote, RemoteError, SealwireError } from '@sealwire/client';";

/** gzip bytes of each chunk that a page loads of the built browser entry, by what it is loaded for. */
async function bundle(contents = PAGE) {
  const { metafile, outputFiles } = await build({
    stdin: {
      contents,
      resolveDir: process.cwd(),
      sourcefile: 'page.js',
    },
    bundle: true,
    splitting: true,
    minify: true,
    format: 'esm',
    conditions: ['browser'],
    // the packages as they are built, not their sources
    tsconfigRaw: {},
    outdir: 'out',
    write: false,
    metafile: true,
  });
  const sizes = new Map(
    Object.keys(metafile.outputs).map((path, i) => [
      path,
      gzipSync(outputFiles[i]?.contents ?? '', { level: 9 }).length,
    ]),
  );
  /** the chunk that is loaded for a file, and what it needs, but for what the page has already */
  const reach = (from: string, had: ReadonlySet<string> = new Set()): Set<string> => {
    const found = new Set([from]);
    for (const path of found) {
      for (const { path: next, kind } of metafile.outputs[path]?.imports ?? []) {
        if (kind === 'import-statement' && !had.has(next)) found.add(next);
      }
    }
    return found;
  };
  const chunkOf = (file: string) =>
    Object.entries(metafile.outputs).find(([, { entryPoint }]) => entryPoint?.endsWith(file))?.[0] as string;
  const first = reach(chunkOf('page.js'));
  const sum = (paths: ReadonlySet<string>) => [...paths].reduce((total, path) => total + (sizes.get(path) ?? 0), 0);
  const files = [...first].flatMap((path) => Object.keys(metafile.outputs[path]?.inputs ?? {}));
  const delivery = chunkOf('delivery/delivery.js');
  const sending = reach(delivery, first);
  const later = (file: string) => sum(reach(chunkOf(file), new Set([...first, ...sending])));
  return {
    files,
    first: sum(first),
    sending: sum(sending),
    /** files that a page loads for its first call, if the browser has everything else */
    more: [...sending],
    later,
    text: outputFiles.map((file) => file.text).join('\n'),
  };
}

const bundled = bundle();

it('is no larger in the browser than it has to be', async () => {
  const { first, sending, later } = await bundled;
  const kilobytes = {
    first: first / 1000,
    sending: sending / 1000,
    kem: later('noble-kem.js') / 1000,
    fallback: later('noble-ciphers.js') / 1000,
  };
  console.log('gzip KB', kilobytes);
  expect(kilobytes.first).toBeLessThanOrEqual(28);
  expect(kilobytes.sending).toBeLessThanOrEqual(28);
  expect(kilobytes.kem).toBeLessThanOrEqual(10);
  expect(kilobytes.fallback).toBeLessThanOrEqual(20);
});

it.each([
  ['', ''],
  [', though it keeps sessions', "export { sessionPersistence } from '@sealwire/client/persistence';"],
])(
  'sends calls and reads streams with one file more%s: each further one is another trip to the server',
  async (_, more) => {
    expect((await bundle(PAGE + more)).more).toHaveLength(1);
  },
);

it('loads with a page neither handshakes, nor curves, KEM and AES in JavaScript, nor streams, nor what only servers and tools use', async () => {
  const { files } = await bundled;
  expect(files.some((file) => file.endsWith('client/dist/remote.js'))).toBe(true);
  const unwanted =
    /curves|ciphers|post-quantum|node\.js|describe|handshake|sessions\/|live\/(outgoing|incoming|units)|cookie|streams\/(upload|reception)/;
  expect(files.filter((file) => unwanted.test(file))).toEqual([]);
});

it('makes no code of text, so that a strict Content-Security-Policy lets it run', async () => {
  expect((await bundled).text).not.toMatch(/\beval\(|new Function|Function\(['"`]|innerHTML|document\.write/);
});
