/** Bundles for browsers, of the sources of this repository or of the built packages. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { type BuildOptions, build, type Plugin } from 'esbuild';

const root = fileURLToPath(new URL('../..', import.meta.url));

export interface Bundle {
  /** bytes by name: the entry's name and `.js`, and those of its chunks */
  readonly files: ReadonlyMap<string, Uint8Array>;
  /** names of the files that are loaded only when they are needed */
  readonly lazy: readonly string[];
}

/** Takes `@sealwire/*` from the sources, by the export conditions of a browser. */
const sources: Plugin = {
  name: 'sources',
  setup({ onResolve }) {
    onResolve({ filter: /^@sealwire\// }, ({ path }) => {
      const [, name = '', ...rest] = path.split('/');
      const folder = join(root, 'libs', name);
      const { exports } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
      // ng-packagr's entry has another name than its source
      const file = name === 'angular' ? './dist/index.js' : resolved(exports[['.', ...rest].join('/')]);
      return { path: join(folder, file.replace('./dist/', 'src/').replace(/\.js$/, '.ts')), sideEffects: false };
    });
  },
};

/** @param target one target of an exports map */
function resolved(target: string | Record<string, unknown>): string {
  if (typeof target === 'string') return target;
  const conditions = ['browser', 'module', 'import', 'default'];
  const condition = Object.keys(target).find((one) => conditions.includes(one));
  if (!condition) throw new Error(`No condition of a browser in ${JSON.stringify(target)}`);
  return resolved(target[condition] as string);
}

/**
 * @param entries paths below the repository, or source text, by name
 * @param of the built packages are what the registry gets
 */
export async function bundle(
  entries: Readonly<Record<string, string | { source: string }>>,
  of: 'sources' | 'packages' = 'sources',
  options: BuildOptions = {},
): Promise<Bundle> {
  const virtual: Plugin = {
    name: 'entries',
    setup({ onResolve, onLoad }) {
      onResolve({ filter: /^entry:/ }, ({ path }) => ({ path: path.slice(6), namespace: 'entry' }));
      onLoad({ filter: /.*/, namespace: 'entry' }, ({ path }) => {
        const entry = entries[path]!;
        const contents = typeof entry === 'string' ? `import ${JSON.stringify(`./${entry}`)};` : entry.source;
        return { contents, loader: 'ts', resolveDir: root };
      });
    },
  };
  const { outputFiles, metafile } = await build({
    entryPoints: Object.keys(entries).map((name) => ({ in: `entry:${name}`, out: name })),
    absWorkingDir: root,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    minify: true,
    write: false,
    metafile: true,
    outdir: '/',
    logLevel: 'silent',
    // the paths of the repository's own tsconfig are those of Node
    tsconfigRaw: {},
    ...options,
    plugins: of === 'sources' ? [virtual, sources] : [virtual],
  });
  const nameOf = (path: string) => path.replace(/^.*\//, '');
  const eager = new Set(Object.keys(entries).map((name) => `${name}.js`));
  // the chunks that an eager file imports in its first lines load with it
  for (const name of eager) {
    const output = Object.entries(metafile!.outputs).find(([path]) => nameOf(path) === name)?.[1];
    for (const one of output?.imports ?? []) if (one.kind === 'import-statement') eager.add(nameOf(one.path));
  }
  const files = new Map((outputFiles ?? []).map((file) => [nameOf(file.path), file.contents]));
  return { files, lazy: [...files.keys()].filter((name) => !eager.has(name)) };
}

/** KB of 1,000 bytes, as a server sends it. */
export function gzipKilobytes(...files: readonly Uint8Array[]): number {
  return files.reduce((sum, file) => sum + gzipSync(file, { level: 9 }).length, 0) / 1_000;
}
