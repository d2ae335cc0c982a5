import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const source = (path: string) => fileURLToPath(new URL(`./libs/${path}.ts`, import.meta.url));
const packages: Record<string, string> = {
  '@sealwire/core': 'core/src/index',
  '@sealwire/core/node': 'core/src/primitives/node',
  '@sealwire/core/portable': 'core/src/primitives/portable',
  '@sealwire/client': 'client/src/index',
  '@sealwire/client/testing': 'client/src/testing/index',
  '@sealwire/nest': 'nest/src/index',
  '@sealwire/nest/typeorm': 'nest/src/typeorm/index',
};
const report = process.env.TEST_REPORT;

export default defineConfig({
  oxc: { decorator: { legacy: true, emitDecoratorMetadata: true } },
  resolve: {
    alias: Object.entries(packages).map(([name, path]) => ({
      find: new RegExp(`^${name}$`),
      replacement: source(path),
    })),
  },
  test: {
    include: ['libs/*/test/**/*.spec.ts', 'test/**/*.spec.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    reporters: report ? ['default', ['json', { outputFile: report }]] : ['default'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
});
