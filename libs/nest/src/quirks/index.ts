export * from './injector.js';
export * from './middleware.js';
export * from './nest.js';
