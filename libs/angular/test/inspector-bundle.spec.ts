import { fileURLToPath } from 'node:url';
import { build, type Plugin } from 'esbuild';
import { expect, it } from 'vitest';

const libs = fileURLToPath(new URL('../../', import.meta.url));

const ENTRIES: Readonly<Record<string, string>> = {
  '@sealwire/angular': 'angular/src/index.ts',
  '@sealwire/angular/inspector': 'angular/inspector/index.ts',
  '@sealwire/client': 'client/src/browser.ts',
  '@sealwire/core': 'core/src/index.ts',
};

/** Finds packages as sources; drivers of the cryptography stay outside. */
const sources: Plugin = {
  name: 'sources',
  setup({ onResolve }) {
    onResolve({ filter: /^@sealwire\// }, ({ path }) => {
      const entry = ENTRIES[path];
      return entry ? { path: libs + entry } : { path, external: true };
    });
  },
};

/** The sources of this workspace that an application's bundle holds, and its text. */
async function bundled(source: string) {
  const result = await build({
    stdin: { contents: source, resolveDir: libs, loader: 'ts' },
    bundle: true,
    write: false,
    metafile: true,
    format: 'esm',
    external: ['@angular/*', 'rxjs', '@noble/*'],
    plugins: [sources],
    logLevel: 'silent',
  });
  const [output] = Object.values(result.metafile.outputs);
  const inputs = Object.entries(output?.inputs ?? {}).filter(([, { bytesInOutput }]) => bytesInOutput > 0);
  return { inputs: inputs.map(([path]) => path), text: result.outputFiles[0]?.text ?? '' };
}

const APPLICATION = `
import { provideSealwire, remoteModule, withFetch } from '@sealwire/angular';
export const providers = provideSealwire({ serverKey: 'swp1' }, withFetch());
export const Payments = remoteModule('payments');
`;

it('is in no bundle that does not import it', async () => {
  const without = await bundled(APPLICATION);
  expect(without.inputs.some((path) => path.includes('angular/src/'))).toBe(true);
  expect(without.inputs.filter((path) => path.includes('inspector'))).toEqual([]);
  expect(without.text).not.toMatch(/sealwire-inspector|WireRecorder|WireAttacks/);

  const inspected = await bundled(
    `${APPLICATION}import { withInspector } from '@sealwire/angular/inspector';\nexport const more = withInspector();`,
  );
  expect(inspected.inputs.some((path) => path.includes('angular/inspector/'))).toBe(true);
  expect(inspected.text).toContain('WireRecorder');
});
