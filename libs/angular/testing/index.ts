export type { TestStream } from './test-stream.js';
export { provideSealwireTesting, SealwireTestingController, type TestCall } from './testing.js';
