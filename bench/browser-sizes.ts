import { bundle, gzipKilobytes } from '../test/support/browser-bundle.js';

const PEERS: Readonly<Record<string, string>> = {
  '@trpc/client': `import { createTRPCClient, httpBatchLink } from '@trpc/client';
    export const client = createTRPCClient({ links: [httpBatchLink({ url: '/trpc' })] });`,
  ehbp: `import { Transport } from 'ehbp'; export const client = () => Transport.create('https://example.com');`,
};

/** Prints what a page loads of this client, and of others bundled the same way. */
export async function printSizes(): Promise<void> {
  console.log('KB (1,000 bytes) after gzip -9, bundled and minified by esbuild');
  const source = `import { createRemote } from '@sealwire/client'; globalThis.remote = createRemote;`;
  const { files, lazy } = await bundle({ page: { source } }, 'packages');
  const first = [...files].filter(([name]) => !lazy.includes(name)).map(([, file]) => file);
  console.log(`  @sealwire/client, first load  ${size(first)}   goal: 28`);
  for (const name of lazy)
    console.log(
      `  @sealwire/client, ${name.padEnd(20)}  ${size([files.get(name) ?? new Uint8Array()])}   (later, if needed; goals: KEM 10, fallback 20)`,
    );
  for (const [name, source] of Object.entries(PEERS)) {
    const { files } = await bundle({ page: { source } }, 'packages');
    console.log(`  ${name.padEnd(28)}  ${size([...files.values()])}`);
  }
}

function size(files: readonly Uint8Array[]): string {
  return gzipKilobytes(...files)
    .toFixed(1)
    .padStart(5);
}
