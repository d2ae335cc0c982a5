export { isGone, ownHostIdentity } from './lease.js';
