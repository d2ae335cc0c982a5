export { JSON_FORMAT } from './plain-calls.js';
