import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const source = (path: string) => fileURLToPath(new URL(`./libs/${path}.ts`, import.meta.url));
const packages: Record<string, string> = {
  '@sealwire/core': 'core/src/index',
  '@sealwire/core/node': 'core/src/crypto/node',
  '@sealwire/core/noble': 'core/src/crypto/noble',
  '@sealwire/core/calls': 'core/src/payload/index',
  '@sealwire/core/live': 'core/src/live/index',
  '@sealwire/core/webcrypto': 'core/src/crypto/webcrypto',
  '@sealwire/client': 'client/src/node',
  '@sealwire/client/http': 'client/src/http',
  '@sealwire/client/undici': 'client/src/transport/undici',
  '@sealwire/client/persistence': 'client/src/persistence',
  '@sealwire/client/testing': 'client/src/testing/index',
  '@sealwire/angular': 'angular/src/index',
  '@sealwire/angular/testing': 'angular/testing/index',
  '@sealwire/angular/inspector': 'angular/inspector/index',
  '@sealwire/nest': 'nest/src/index',
  '@sealwire/nest/ports': 'nest/src/ports/index',
  '@sealwire/typeorm': 'typeorm/src/index',
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
    setupFiles: [
      'test/support/properties.ts',
      // scripts/nightly
      ...(process.env.SEALWIRE_FUZZ ? ['test/support/fuzz.ts'] : []),
    ],
    reporters: report ? ['default', ['json', { outputFile: report }]] : ['default'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // a busy machine takes longer than the second that Vitest gives
    expect: { poll: { timeout: 20_000 } },
  },
});
