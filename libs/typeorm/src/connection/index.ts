export { Database } from './database.js';
export { Turns } from './turns.js';
