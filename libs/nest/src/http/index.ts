export { BodyReader } from './body.js';
export { JSON_FORMAT } from './plain-calls.js';
