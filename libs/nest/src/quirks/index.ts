export { withGlobalPrefix } from './application-config.js';
export * from './nest.js';
