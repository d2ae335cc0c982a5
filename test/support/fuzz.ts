import type { IAsyncProperty, Parameters } from 'fast-check';
import { vi } from 'vitest';

// Every property runs for a while instead of a number of times: SEALWIRE_FUZZ seconds, from SEALWIRE_SEED on.
vi.mock('fast-check', async (importOriginal) => {
  const original = await importOriginal<typeof import('fast-check')>();
  const long = {
    seed: Number(process.env.SEALWIRE_SEED ?? 1),
    numRuns: 1e9,
    interruptAfterTimeLimit: Number(process.env.SEALWIRE_FUZZ) * 1_000,
    markInterruptAsFailure: false,
  };
  const assert = <Ts>(property: IAsyncProperty<Ts>, parameters?: Parameters<Ts>) =>
    original.assert(property, { ...parameters, ...long });
  return { ...original, assert, default: { ...original.default, assert } };
});
