export * from './injector.js';
export * from './nest.js';
