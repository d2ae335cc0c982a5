export { provideSealwireTesting, SealwireTestingController, type TestCall } from './testing.js';
