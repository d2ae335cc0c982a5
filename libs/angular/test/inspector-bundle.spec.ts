import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { expect, it } from 'vitest';

const libs = fileURLToPath(new URL('../..', import.meta.url));

/** The sources of this workspace that an application's bundle holds, and its text. */
async function bundled(source: string) {
  const result = await build({
    stdin: { contents: source, resolveDir: libs, loader: 'ts' },
    bundle: true,
    write: false,
    metafile: true,
    treeShaking: true,
    format: 'esm',
    external: ['@angular/*', 'rxjs', '@noble/*'],
    alias: {
      '@sealwire/angular/inspector': `${libs}/angular/inspector/index.ts`,
      '@sealwire/angular': `${libs}/angular/src/index.ts`,
      '@sealwire/client': `${libs}/client/src/browser.ts`,
      '@sealwire/core/noble': `${libs}/core/src/crypto/noble.ts`,
      '@sealwire/core': `${libs}/core/src/index.ts`,
    },
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
