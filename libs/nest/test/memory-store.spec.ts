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
