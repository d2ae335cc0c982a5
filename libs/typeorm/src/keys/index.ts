export { KeyEncryption } from './key-encryption.js';
export { rewrap } from './rewrap.js';
