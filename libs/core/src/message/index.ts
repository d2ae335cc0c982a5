export { pad, paddedLength, unpad, unpadFirst } from '../bytes.js';
