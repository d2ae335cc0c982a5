#!/usr/bin/env node
// Stands outside dist so that npm can link the command before the first build.
await import('../dist/cli/main.js').catch((error) => {
  if (error.code !== 'ERR_MODULE_NOT_FOUND' || !String(error.message).includes('dist/cli/main.js')) throw error;
  console.error('sealwire is not built yet: run "npm run build" first.');
  process.exitCode = 1;
});
