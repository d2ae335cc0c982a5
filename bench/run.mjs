// Compares sealed calls with what they replace. This process is the load; the servers run in a second one.
// Options: --quick (short rounds, rough figures).
import { buildIfStale } from '../scripts/build.mjs';

const options = { quick: process.argv.includes('--quick') };
buildIfStale();
// only now is there something that these can import
const { compareCalls } = await import('./calls.mjs');
const { measureStore } = await import('./store.mjs');
await compareCalls(options);
await measureStore(options);
