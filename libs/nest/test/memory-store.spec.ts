import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { MemoryStore } from '../src/sessions/index.js';
import { storeContract } from './store-contract.js';
import { primitives } from './support.js';

for (const exclusive of [true, false]) {
  storeContract(`MemoryStore, ${exclusive ? 'lanes taken' : 'lanes joined'},`, exclusive, async () => {
    const store = new MemoryStore(primitives);
    await store.start({ release: async () => undefined, ended: () => undefined, incarnationChanged: () => undefined });
    return { store, directory: store, data: store, close: () => store.stop() };
  });
}

describe("the memory store's clock", () => {
  it('goes on as it did when the clock of the machine is set', () => {
    const store = new MemoryStore(primitives);
    const before = store.now();
    expect(Math.abs(before - Date.now())).toBeLessThan(60_000);
    vi.useFakeTimers({ toFake: ['Date'] });
    onTestFinished(() => {
      vi.useRealTimers();
    });
    for (const step of [-86_400_000, 86_400_000]) {
      vi.setSystemTime(before + step);
      expect(store.now()).toBeGreaterThanOrEqual(before);
      expect(store.now() - before).toBeLessThan(60_000);
    }
  });
});
