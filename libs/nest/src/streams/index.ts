export { Audience } from './audience.js';
