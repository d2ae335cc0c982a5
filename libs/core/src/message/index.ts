export { pad, paddedLength, unpad, unpadFirst } from './padding.js';
